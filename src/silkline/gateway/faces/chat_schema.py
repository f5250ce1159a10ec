"""The body of `POST /v1/chat/completions`: the fields that have an effect.

All other fields are filtered out before: see `silkline.gateway.fields` and `known_fields`.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import ImagePart, Message, Part, Role, TextPart, ToolCall
from silkline.errors import InvalidRequest
from silkline.gateway.faces.image_fields import (
    DETAILS,
    FileData,
    ImageFields,
    Images,
    ImageUrl,
    PixelFields,
)
from silkline.gateway.faces.sampling_fields import MAX_CHOICES, MAX_LOGPROBS, Tokens
from silkline.gateway.faces.tool_fields import Name, OptionFields
from silkline.service.question import Question

_MAX_PARTS = 1024
MAX_MESSAGES = 10_000
_MAX_CALLS = 128
_MAX_ID_CHARS = 256

_CallId = Annotated[str, Meta(min_length=1, max_length=_MAX_ID_CHARS)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextContent(_Body, frozen=True, tag_field="type", tag="text"):
    """Text in a message."""

    text: str


class InputText(TextContent, frozen=True, tag_field="type", tag="input_text"):
    """Text as in the Responses API."""


class RefusalContent(_Body, frozen=True, tag_field="type", tag="refusal"):
    """The text with which an assistant refused to answer."""

    refusal: str


class ImageContent(ImageFields, frozen=True, tag_field="type", tag="image_url"):
    """An image in a message."""

    image_url: str | ImageUrl


class InputImage(ImageContent, frozen=True, tag_field="type", tag="input_image"):
    """An image as in the Responses API."""


class QwenImage(ImageFields, frozen=True, tag_field="type", tag="image"):
    """An image as in the messages of Qwen's own library."""

    image: str


class FileContent(ImageFields, frozen=True, tag_field="type", tag="file"):
    """A document whose pages the model sees as images, or an image."""

    file: FileData


class InputFile(ImageFields, frozen=True, tag_field="type", tag="input_file"):
    """A document or an image as in the Responses API."""

    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None

    def part(self, images: Images, param: str) -> ImagePart:
        """Adds the file to `images`. Raises `InvalidRequest` unless there is exactly one."""
        if self.file_data is not None and self.file_url is None:
            return images.add_file(self.file_data, self, f"{param}.file_data")
        if self.file_url is not None and self.file_data is None:
            return images.add(self.file_url, self, f"{param}.file_url")
        raise InvalidRequest(
            f"The field {param} must have either file_data or file_url. Send exactly one of them.",
            param=param,
        )


Content = (
    TextContent
    | InputText
    | RefusalContent
    | ImageContent
    | InputImage
    | QwenImage
    | FileContent
    | InputFile
)


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
    content: str | Annotated[list[Content], Meta(max_length=_MAX_PARTS)] | None = None
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
        "messages.content.type": "text, image_url, image, file, refusal, input_text, "
        "input_image or input_file",
        "messages.content.detail": DETAILS,
        "messages.content.image_url.detail": DETAILS,
        "messages.tool_calls.type": "function",
        "reasoning_effort": "none, minimal, low, medium, high, xhigh or max",
        "response_format.type": "text, json_object or json_schema",
        "tool_choice": "auto, none, required or a function",
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

    @property
    def wants_usage(self) -> bool:
        """Whether the stream should end with a chunk that holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

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
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for index, item in enumerate(content):
        match item:
            case TextContent(text=text) | RefusalContent(refusal=text):
                parts.append(TextPart(text))
            case ImageContent(image_url=image):
                parts.append(images.add(image, item, f"{param}.{index}.image_url"))
            case QwenImage(image=image):
                parts.append(images.add(image, item, f"{param}.{index}.image"))
            case FileContent(file=file):
                path = f"{param}.{index}.file.file_data"
                parts.append(images.add_file(file.file_data, item, path))
            case InputFile():
                parts.append(item.part(images, f"{param}.{index}"))
    return tuple(parts)
