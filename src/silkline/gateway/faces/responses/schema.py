"""The body of `POST /v1/responses`: the fields that have an effect, or are part of the response.

All other fields are filtered out before: see `silkline.gateway.fields` and `known_fields`.
https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import Constraint, PromptOptions, Role, Tool, ToolChoice
from silkline.gateway.faces.constraints import (
    GuidedFields,
    JsonObjectFormat,
    NamedSchema,
    TextFormat,
    any_object,
    as_json,
    named_schema,
)
from silkline.gateway.faces.content import PART_TYPES
from silkline.gateway.faces.image_fields import DETAILS, Images, PixelFields
from silkline.gateway.faces.responses.items import (
    Conversation,
    InputItem,
    Item,
    ItemId,
    MessageItem,
)
from silkline.gateway.faces.sampling_fields import MAX_LOGPROBS, Tokens
from silkline.gateway.faces.tool_fields import (
    Effort,
    Name,
    TemplateOptions,
    allowed_tools,
    prompt_options,
    thinking,
)
from silkline.service.other_fields import OtherField
from silkline.service.question import Question

LOGPROBS = "message.output_text.logprobs"
"""The value of `include` that asks for log-probabilities."""

_SUPPORTED = frozenset({LOGPROBS, "message.input_image.image_url"})
"""The values of `include` that are supported; the parts that others name never exist here."""

_MAX_ITEMS = 10_000
_MAX_TOOLS = 128
_MAX_PAIRS = 16
_MAX_INCLUDES = 32


class _Body(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class NamedSchemaFormat(NamedSchema, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""


class TextConfig(_Body, frozen=True):
    """The form of the answer's text. `verbosity` has no effect."""

    format: TextFormat | JsonObjectFormat | NamedSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class NamedFunctionTool(_Body, frozen=True, omit_defaults=False, tag_field="type", tag="function"):
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    name: Name
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class NamedFunctionChoice(_Body, frozen=True, tag_field="type", tag="function"):
    """The only function that the model must call."""

    name: Name


class AllowedTools(_Body, frozen=True, tag_field="type", tag="allowed_tools"):
    """The tools that the model may call, of all `tools`; `required` means that it must."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunctionChoice], Meta(min_length=1, max_length=_MAX_TOOLS)]


class ReasoningConfig(_Body, frozen=True):
    """How much the model thinks. The answer has the reasoning itself, never a summary of it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ObfuscationOptions(_Body, frozen=True):
    """Options of a streamed response; they have no effect."""

    include_obfuscation: bool | None = None


class ResponsesRequest(GuidedFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a response.

    Without a temperature, decoding is greedy. `model` may be left out where one model is served.
    Nothing is stored without `store`, unless the server's settings say otherwise.
    """

    VALUES: ClassVar[Mapping[str, str]] = {
        "input.type": "message, function_call, function_call_output, reasoning or item_reference",
        "input.role": "user, assistant, system or developer",
        "input.content.type": PART_TYPES,
        "input.content.detail": DETAILS,
        "input.output.detail": DETAILS,
        "input.output.type": PART_TYPES,
        "reasoning.effort": "none, minimal, low, medium, high, xhigh or max",
        "text.format.type": "text, json_object or json_schema",
        "text.verbosity": "low, medium or high",
        "tools.type": "function; built-in tools, such as web_search, are not available here",
        "tool_choice": "auto, none, required, a function or allowed_tools",
        "tool_choice.type": "function or allowed_tools",
        "truncation": "auto or disabled",
    }
    """Allowed values of fields that have few, by the field's path without indices."""

    INSTEAD: ClassVar[Mapping[str, str]] = {
        "file_id": "the image or the document itself, or its URL",
        "max_completion_tokens": "max_output_tokens",
        "max_new_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "messages": "input",
        "n_predict": "max_output_tokens",
        "num_predict": "max_output_tokens",
        "reasoning_effort": "reasoning with effort",
        "response_format": "text with format",
    }
    """Names that the chat route or other servers use, and the field to send here."""

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "background": (False,),
        "conversation": (),
        "functions": ([],),
        "image": ({"context_compression": "auto"}, {"context_compression": "disabled"}),
        "logprobs": (False,),
        "n": (1,),
    }
    """Fields that are not supported here, and their accepted no-op values."""

    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=_MAX_ITEMS)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    max_tool_calls: int | None = None
    text: TextConfig | None = None
    tools: Annotated[list[NamedFunctionTool], Meta(max_length=_MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedFunctionChoice | AllowedTools | None = (
        None
    )
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningConfig | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    mm_processor_kwargs: PixelFields | None = None
    include: Annotated[list[str], Meta(max_length=_MAX_INCLUDES)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    stream: bool | None = None
    stream_options: ObfuscationOptions | None = None
    store: bool | None = None
    previous_response_id: ItemId | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=_MAX_PAIRS)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def others(self) -> tuple[OtherField, ...]:
        """The fields whose values are accepted, but not followed."""
        unsupported = {
            "include": not _SUPPORTED.issuperset(self.include or ()),
            "truncation": self.truncation == "auto",
        }
        return tuple(OtherField(path) for path, is_other in unsupported.items() if is_other)

    @property
    def items(self) -> Sequence[InputItem]:
        """The items of the input; a text is a message of the user."""
        if isinstance(self.input, str):
            return (MessageItem(role="user", content=self.input),)
        return self.input

    def question(self, items: Sequence[tuple[str, Item]], cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`.

        Args:
            items: The items of the conversation, each with its path in the body.
            cache_use: How the request's headers allow the cache to be used.

        Raises:
            InvalidRequest: An image's URL is invalid, or two fields contradict each other.
            UrlBlocked: An image's URL is not allowed.
        """
        images = Images(self.mm_processor_kwargs)
        conversation = Conversation(images)
        if self.instructions is not None:
            conversation.say(Role.SYSTEM, self.instructions)
        for param, item in items:
            conversation.add(item, param)
        return Question(
            model=self.model,
            messages=conversation.messages(),
            sources=tuple(images.sources),
            sampling=self.sampling(self.max_output_tokens, self._logprobs(), self.constraint()),
            stream=bool(self.stream),
            cache_use=cache_use,
            options=self._options(),
            unset=self.unset(),
        )

    def _found(self) -> Iterator[tuple[str, Constraint]]:
        match self.text and self.text.format:
            case JsonObjectFormat() as json_object:
                yield "text.format", any_object(json_object)
            case NamedSchemaFormat() as named:
                yield "text.format", named_schema(named)
        yield from super()._found()

    def _logprobs(self) -> int | None:
        if self.top_logprobs or LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        return None

    def _options(self) -> PromptOptions:
        template = self.chat_template_kwargs or TemplateOptions()
        effort = (self.reasoning and self.reasoning.effort) or template.reasoning_effort
        thinks, level = thinking(
            effort, self.enable_thinking, template.enable_thinking, template.thinking
        )
        tools = tuple(_tool(tool) for tool in self.tools or ())
        choice: ToolChoice | str
        match self.tool_choice:
            case NamedFunctionChoice(name=name):
                choice = name
            case AllowedTools(mode=mode, tools=allowed):
                tools = allowed_tools(tools, {tool.name for tool in allowed})
                choice = ToolChoice(mode)
            case other:
                choice = ToolChoice(other or "auto")
        return prompt_options(
            tools,
            choice,
            parallel=self.parallel_tool_calls is not False,
            thinking=thinks,
            effort=level,
        )


def _tool(tool: NamedFunctionTool) -> Tool:
    parameters = tool.parameters
    return Tool(
        tool.name,
        tool.description or "",
        "" if parameters is None else as_json(parameters),
        bool(tool.strict),
    )
