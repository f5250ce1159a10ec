"""Reads tools, the choice between them, and reasoning from a chat completion's body."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from silkline.core import PromptOptions, Tool, ToolChoice
from silkline.errors import InvalidRequest
from silkline.gateway.faces.constraints import ConstraintFields, as_json

MAX_TOOLS = 128
"""Maximum tools of a request."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
"""The name of a tool. The Anthropic API allows 128 characters, which agents' names need."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

EFFORTS = "none, minimal, low, medium, high, xhigh or max"
"""The values of `Effort`, for errors."""

_SWITCHES = {"enabled": True, "disabled": False}


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Function(_Body, frozen=True):
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(_Body, frozen=True, tag_field="type", tag="function"):
    """A tool that is a function."""

    function: Function


class FunctionName(_Body, frozen=True):
    """The name of a function."""

    name: Name


class FunctionChoice(_Body, frozen=True, tag_field="type", tag="function"):
    """The only function that the model must call."""

    function: FunctionName


class AllowedTools(_Body, frozen=True):
    """Some of the tools, and whether the model must call one of them."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedChoice(_Body, frozen=True, tag_field="type", tag="allowed_tools"):
    """Only some of the tools may be called."""

    allowed_tools: AllowedTools


class TemplateOptions(_Body, frozen=True):
    """The options of chat templates that clients may set."""

    enable_thinking: bool | None = None
    thinking: bool | None = None
    reasoning_effort: Effort | None = None


class ThinkingSwitch(_Body, frozen=True):
    """Whether to think, as in the Anthropic API; `auto` and `adaptive` leave it to the model."""

    type: Literal["enabled", "disabled", "auto", "adaptive"]


class ReasoningSwitch(_Body, frozen=True):
    """Whether to think, and how much, as in the Responses API and OpenRouter's."""

    enabled: bool | None = None
    effort: Effort | None = None


class ThinkingFields(ConstraintFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a body that say whether the model thinks, in the ways in which clients do."""

    reasoning_effort: Effort | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    thinking: ThinkingSwitch | None = None
    reasoning: ReasoningSwitch | None = None
    think: bool | None = None

    def thinks(self) -> tuple[bool | None, str]:
        """Whether the model thinks (None is its default), and how much (empty is its default)."""
        template = self.chat_template_kwargs or TemplateOptions()
        reasoning = self.reasoning or ReasoningSwitch()
        effort = self.reasoning_effort or template.reasoning_effort or reasoning.effort
        return thinking(
            effort,
            self.enable_thinking,
            template.enable_thinking,
            template.thinking,
            _SWITCHES.get(self.thinking.type) if self.thinking else None,
            reasoning.enabled,
            self.think,
        )


class OptionFields(ThinkingFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a chat completion's body that say how the prompt is written."""

    tools: Annotated[list[FunctionTool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None

    def options(self, *, last_is_assistant: bool) -> PromptOptions:
        """Converts the fields.

        Args:
            last_is_assistant: Whether the last message is the assistant's.

        Raises:
            InvalidRequest: Two tools have one name, the chosen tool is not there, or the answer
                cannot continue the last message.
        """
        tools, choice = self._tools()
        thinking, effort = self.thinks()
        return prompt_options(
            tools,
            choice,
            parallel=self.parallel_tool_calls is not False,
            thinking=thinking,
            effort=effort,
            continues=self._continues(last_is_assistant=last_is_assistant),
        )

    def _tools(self) -> tuple[tuple[Tool, ...], ToolChoice | str]:
        """The tools that may be called, and the choice between them."""
        tools = tuple(_tool(item.function) for item in self.tools or ())
        match self.tool_choice:
            case FunctionChoice(function=function):
                return tools, function.name
            case AllowedChoice(allowed_tools=allowed):
                names = {item.function.name for item in allowed.tools}
                return allowed_tools(tools, names), ToolChoice(allowed.mode)
        return tools, ToolChoice(self.tool_choice or "auto")

    def _continues(self, *, last_is_assistant: bool) -> bool:
        if not self.continue_final_message:
            if self.add_generation_prompt is False:
                raise InvalidRequest(
                    "add_generation_prompt is false without continue_final_message. Leave it out.",
                    param="add_generation_prompt",
                )
            return False
        if not last_is_assistant or self.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message needs a last message of the assistant, and no "
                "add_generation_prompt.",
                param="continue_final_message",
            )
        return True


def allowed_tools(tools: Sequence[Tool], names: Set[str]) -> tuple[Tool, ...]:
    """Returns the tools with these names.

    Raises:
        InvalidRequest: There is no tool with one of the names.
    """
    if unknown := names - {tool.name for tool in tools}:
        raise InvalidRequest(
            f"tool_choice allows {min(unknown)}, which is not in tools. Add it, or leave it out.",
            param="tool_choice",
        )
    return tuple(tool for tool in tools if tool.name in names)


def thinking(effort: str | None, *switches: bool | None) -> tuple[bool | None, str]:
    """Whether the model thinks (None is its default), and how much (empty is its default).

    Args:
        effort: The effort that the client names.
        switches: Whether to think, by each of the client's fields; the first that is set counts.
    """
    for asked in switches:
        if asked is not None:
            return asked, "" if effort in {None, "none"} else str(effort)
    if effort == "none":
        return False, ""
    return None, effort or ""


def prompt_options(
    tools: tuple[Tool, ...],
    choice: ToolChoice | str,
    *,
    parallel: bool = True,
    thinking: bool | None = None,
    effort: str = "",
    continues: bool = False,
) -> PromptOptions:
    """Checks the tools, and builds the options of a prompt.

    Args:
        tools: The tools of the request.
        choice: Whether the model calls tools, or the name of the one that it must call.
        parallel: Whether one answer may hold several calls.
        thinking: Whether the model thinks; None is its default.
        effort: How much it thinks; empty is its default.
        continues: Whether the answer continues the last message.

    Raises:
        InvalidRequest: Two tools have one name, or the chosen tool is not there.
    """
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InvalidRequest("Two tools have the same name. Give each its own.", param="tools")
    if not isinstance(choice, ToolChoice):
        if choice not in names:
            raise InvalidRequest(
                "tool_choice names a function that is not in tools. Add it, or choose another.",
                param="tool_choice",
            )
        return PromptOptions(
            tools, ToolChoice.REQUIRED, choice, parallel, thinking, effort, continues
        )
    if choice is ToolChoice.REQUIRED and not tools:
        raise InvalidRequest(
            "tool_choice is required, but there are no tools. Send tools, or leave it out.",
            param="tool_choice",
        )
    return PromptOptions(tools, choice, "", parallel, thinking, effort, continues)


def _tool(function: Function) -> Tool:
    parameters = function.parameters
    return Tool(
        function.name,
        function.description or "",
        "" if parameters is None else as_json(parameters),
        bool(function.strict),
    )
