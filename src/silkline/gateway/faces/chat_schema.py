"""The body of `POST /v1/chat/completions`: the fields that have an effect.

All other fields are filtered out before: see `silkline.gateway.fields` and `known_fields`.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import Message, Part, Role, ToolCall
from silkline.errors import InvalidRequest
from silkline.gateway.faces.content import PART_TYPES, Content, read_content
from silkline.gateway.faces.image_fields import DETAILS, Images, PixelFields
from silkline.gateway.faces.sampling_fields import MAX_CHOICES, MAX_LOGPROBS, Tokens
from silkline.gateway.faces.tool_fields import EFFORTS, Name, OptionFields
from silkline.service.question import Question

MAX_MESSAGES = 10_000
_MAX_CALLS = 128
_MAX_ID_CHARS = 256

_CallId = Annotated[str, Meta(min_length=1, max_length=_MAX_ID_CHARS)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class FunctionCall(_Body, frozen=True):
    """The function that an assistant called, with its arguments as JSON text."""

    name: Name
    arguments: str = ""


class ToolCallContent(_Body, frozen=True, tag_field="type", tag="function"):
    """A call of a tool in an assistant's message."""

    id: _CallId
    function: FunctionCall


class ChatMessage(_Body, frozen=True):
    """One message of the conversation; an answer of this server may be sent back unchanged.

    An assistant's message may have no content; its text is then its `refusal`, or empty.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Annotated[list[ToolCallContent], Meta(max_length=_MAX_CALLS)] | None = None
    tool_call_id: _CallId | None = None

    def message(self, images: Images, param: str) -> Message:
        """Converts the message.

        Args:
            images: Gets its images.
            param: The message's path in the body.

        Raises:
            InvalidRequest: An image's URL is invalid, or content or a call's id is missing.
            UrlBlocked: An image's URL is not allowed.
        """
        if self.role == "tool" and self.tool_call_id is None:
            raise InvalidRequest(
                f"The field {param}.tool_call_id is missing. Send the id of the call that this "
                "message answers.",
                param=f"{param}.tool_call_id",
            )
        assistant = self.role == "assistant"
        return Message(
            Role.SYSTEM if self.role == "developer" else Role(self.role),
            _parts(self, images, f"{param}.content"),
            tuple(
                ToolCall(call.id, call.function.name, call.function.arguments)
                for call in (self.tool_calls or () if assistant else ())
            ),
            (self.tool_call_id or "") if self.role == "tool" else "",
            (self.reasoning_content or self.reasoning or "") if assistant else "",
        )


class StreamOptions(_Body, frozen=True):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatRequest(OptionFields, frozen=True, kw_only=True):
    """A chat completion request.

    Without a temperature, decoding is greedy. A negative seed means no seed. `model` may be left
    out where one model is served.
    """

    VALUES: ClassVar[Mapping[str, str]] = {
        "messages.role": "system, developer, user, assistant or tool",
        "messages.content.type": PART_TYPES,
        "messages.content.detail": DETAILS,
        "messages.content.image_url.detail": DETAILS,
        "messages.tool_calls.type": "function",
        "reasoning.effort": EFFORTS,
        "reasoning_effort": EFFORTS,
        "response_format.type": "text, json_object or json_schema",
        "tool_choice": "auto, none, required or a function",
        "thinking.type": "enabled, disabled, auto or adaptive",
        "tools.type": "function",
    }
    """Allowed values of fields that have few, by the field's path without indices."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    mm_processor_kwargs: PixelFields | None = None

    def question(self, cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`.

        Args:
            cache_use: How the request's headers allow the cache to be used.

        Raises:
            InvalidRequest: An image's URL is invalid, a message that needs content has none, or
                two fields contradict each other.
            UrlBlocked: An image's URL is not allowed.
        """
        images = Images(self.mm_processor_kwargs)
        messages = tuple(
            message.message(images, f"messages.{index}")
            for index, message in enumerate(self.messages)
        )
        return Question(
            model=self.model,
            messages=messages,
            sources=tuple(images.sources),
            sampling=self.sampling(
                self.max_completion_tokens or self.max_tokens, self._logprobs(), self.constraint()
            ),
            stream=bool(self.stream),
            cache_use=cache_use,
            options=self.options(last_is_assistant=messages[-1].role is Role.ASSISTANT),
            choices=self.n or 1,
            unset=self.unset(),
        )

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise InvalidRequest(
                "top_logprobs needs logprobs: true. Send both, or neither.", param="top_logprobs"
            )
        return None


def _parts(message: ChatMessage, images: Images, param: str) -> tuple[Part, ...]:
    """Converts a message's content to parts; adds its images to `images`."""
    content = message.content
    if content is None:
        if message.role not in {"assistant", "tool"}:
            raise InvalidRequest(
                f"The field {param} is missing. Send a text, or a list of content parts.",
                param=param,
            )
        content = message.refusal or ""
    return read_content(content, images, param)
