"""The bodies of `POST /v1/messages` and `/v1/messages/count_tokens`: the fields with an effect.

All other fields are filtered out before: see `silkline.gateway.fields` and `known_fields`.
https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import (
    Constraint,
    ConstraintKind,
    PromptOptions,
    Role,
    Sampling,
    Tool,
    ToolChoice,
)
from silkline.errors import InvalidRequest
from silkline.gateway.faces.constraints import as_json
from silkline.gateway.faces.messages.blocks import (
    BLOCK_TYPES,
    ClientMessage,
    Conversation,
    TextBlock,
)
from silkline.gateway.faces.sampling_fields import SamplingFields, StopStrings, Tokens
from silkline.gateway.faces.tool_fields import MAX_TOOLS, Name, prompt_options
from silkline.gateway.fields import unsupported
from silkline.service.question import Question

_MAX_MESSAGES = 10_000
_MAX_SYSTEM_BLOCKS = 1024
_SOURCES = "base64 or url; for a document also text or content"


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ClientTool(_Body, frozen=True):
    """A tool that the client runs; `input_schema` is the JSON Schema of its input."""

    name: Name
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None
    type: str | None = None


class _Choice(_Body, frozen=True):
    disable_parallel_tool_use: bool | None = None


class AutoChoice(_Choice, frozen=True, tag_field="type", tag="auto"):
    """The model decides whether to call tools."""


class AnyChoice(_Choice, frozen=True, tag_field="type", tag="any"):
    """The model must call a tool."""


class NamedChoice(_Choice, frozen=True, kw_only=True, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: Name


class NoChoice(_Choice, frozen=True, tag_field="type", tag="none"):
    """The model must not call tools."""


class Thinking(_Body, frozen=True):
    """Whether the model thinks; `adaptive` and `between_tools` leave it to the model."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class JsonSchemaOutput(_Body, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""

    schema: dict[str, Any]


class OutputConfig(_Body, frozen=True):
    """The form of the answer, and how much the model thinks before it."""

    format: JsonSchemaOutput | None = None
    effort: Literal["minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class CountRequest(SamplingFields, frozen=True, kw_only=True):
    """A request to count the tokens of a prompt; sampling fields have no effect.

    `model` may be left out where one model is served.
    """

    VALUES: ClassVar[Mapping[str, str]] = {
        "messages.role": "user, assistant or system",
        "messages.content.type": BLOCK_TYPES,
        "messages.content.content.type": "text, image or document",
        "messages.content.source.type": _SOURCES,
        "messages.content.content.source.type": _SOURCES,
        "output_config.format.type": "json_schema",
        "output_config.effort": "minimal, low, medium, high, xhigh or max",
        "output_format.type": "json_schema",
        "system.type": "text",
        "thinking.type": "enabled, disabled, adaptive or between_tools",
        "tool_choice.type": "auto, any, tool or none",
    }
    """Allowed values of fields that have few, by the field's path without indices."""

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "citations": ([], {"enabled": False}),
        "container": (),
        "mcp_servers": ([],),
        "transformations": ({}, {"oversized_image": "downsize"}),
    }
    """Fields of the Anthropic API that are not supported, and the no-op values each accepts."""

    INSTEAD: ClassVar[Mapping[str, str]] = {
        "max_completion_tokens": "max_tokens",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
    }
    """Fields of the OpenAI API, and the field to send here."""

    messages: Annotated[list[ClientMessage], Meta(min_length=1, max_length=_MAX_MESSAGES)]
    model: str | None = None
    system: str | Annotated[list[TextBlock], Meta(max_length=_MAX_SYSTEM_BLOCKS)] | None = None
    tools: Annotated[list[ClientTool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: AutoChoice | AnyChoice | NamedChoice | NoChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonSchemaOutput | None = None

    def asked(
        self,
        sampling: Sampling,
        cache_use: CacheUse,
        *,
        stream: bool = False,
        unset: frozenset[str] = frozenset(),
    ) -> Question:
        """Converts the request to a `Question`.

        Args:
            sampling: How to choose tokens, without the form of the answer.
            cache_use: How the request's headers allow the cache to be used.
            stream: Whether the client reads the answer as a stream.
            unset: The sampling parameters that the request does not name.

        Raises:
            InvalidRequest: A block or a tool is not supported, or two fields contradict each other.
            UrlBlocked: The URL of an image is not allowed.
        """
        conversation = Conversation()
        if self.system:
            conversation.add_system(self.system)
        for index, message in enumerate(self.messages):
            conversation.add(message, f"messages.{index}")
        messages = conversation.messages()
        if not messages:
            raise InvalidRequest("The messages have no content. Send a text.", param="messages")
        last = messages[-1]
        if last.tool_calls:
            raise InvalidRequest(
                "The last message calls tools. Send their results in a message of the user.",
                param="messages",
            )
        return Question(
            model=self.model,
            messages=messages,
            sources=tuple(conversation.sources),
            sampling=replace(sampling, constraint=self._constraint()),
            stream=stream,
            cache_use=cache_use,
            options=self._options(continues=last.role is Role.ASSISTANT),
            unset=unset,
        )

    def _constraint(self) -> Constraint | None:
        config = self.output_config or OutputConfig()
        output = config.format or self.output_format
        if output is None:
            return None
        return Constraint(ConstraintKind.JSON_SCHEMA, as_json(output.schema))

    def _options(self, *, continues: bool) -> PromptOptions:
        config = self.output_config or OutputConfig()
        choice = self.tool_choice
        return prompt_options(
            tuple(_tool(tool, index) for index, tool in enumerate(self.tools or ())),
            choice.name if isinstance(choice, NamedChoice) else _CHOICES[type(choice)],
            parallel=choice is None or not choice.disable_parallel_tool_use,
            thinking=_THINKING.get(self.thinking.type) if self.thinking else None,
            effort=config.effort or "",
            continues=continues,
        )


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """A request for a message.

    Parameters that it does not name are the model's defaults. `stop` and `stop_sequences` are
    added up.
    """

    max_tokens: Tokens
    stop_sequences: StopStrings | None = None
    stream: bool | None = None

    def question(self, cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`; see `asked`."""
        sampling = self.sampling(self.max_tokens, None, None)
        stops = (*sampling.stop, *(self.stop_sequences or ()))
        return self.asked(
            replace(sampling, stop=stops), cache_use, stream=bool(self.stream), unset=self.unset()
        )


_CHOICES: Mapping[type[object], ToolChoice] = {
    type(None): ToolChoice.AUTO,
    AutoChoice: ToolChoice.AUTO,
    AnyChoice: ToolChoice.REQUIRED,
    NoChoice: ToolChoice.NONE,
}
_THINKING = {"enabled": True, "disabled": False}


def _tool(tool: ClientTool, index: int) -> Tool:
    if tool.type not in {None, "custom"} or tool.input_schema is None:
        raise unsupported(
            f"tools.{index}",
            "Send tools with an input_schema and without a type: no tools run on this server.",
        )
    schema = as_json(tool.input_schema)
    return Tool(tool.name, tool.description or "", schema, bool(tool.strict))
