"""The body of `POST /v1/chat/completions`: the fields that have an effect.

All other fields are filtered out before: see `silkline.gateway.fields` and `known_fields`.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import ImagePart, Message, Part, Role, Sampling, TextPart
from silkline.errors import InvalidRequest
from silkline.ingress.source import Source, parse_url
from silkline.service.question import Question

_MAX_SEED = 2**63 - 1
_MAX_PARTS = 1024
_MAX_MESSAGES = 10_000
_MAX_STOPS = 4
_MAX_STOP_CHARS = 256

_Tokens = Annotated[int, Meta(ge=1)]
_StopString = Annotated[str, Meta(min_length=1, max_length=_MAX_STOP_CHARS)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextContent(_Body, frozen=True, tag_field="type", tag="text"):
    """Text in a message."""

    text: str


class RefusalContent(_Body, frozen=True, tag_field="type", tag="refusal"):
    """The text with which an assistant refused to answer."""

    refusal: str


class ImageUrl(_Body, frozen=True):
    """The location of an image: an http, https or data URL.

    `detail` has no effect; images are always resized to the model's size.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageContent(_Body, frozen=True, tag_field="type", tag="image_url"):
    """An image in a message."""

    image_url: ImageUrl


Content = TextContent | RefusalContent | ImageContent


class ChatMessage(_Body, frozen=True):
    """One message of the conversation; an answer of this server may be sent back unchanged.

    An assistant's message may have no content; its text is then its `refusal`, or empty.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Content], Meta(max_length=_MAX_PARTS)] | None = None
    refusal: str | None = None


class StreamOptions(_Body, frozen=True):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatRequest(_Body, frozen=True):
    """A chat completion request.

    Without a temperature, decoding is greedy. A negative seed means no seed.
    """

    VALUES: ClassVar[Mapping[str, str]] = {
        "messages.role": "system, developer, user or assistant",
        "messages.content.type": "text, image_url or refusal",
        "messages.content.image_url.detail": "auto, low, high or original",
    }
    """Allowed values of fields that have few, by the field's path without indices."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=_MAX_MESSAGES)]
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(le=_MAX_SEED)] | None = None
    stop: _StopString | Annotated[list[_StopString], Meta(max_length=_MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether the stream should end with a chunk that holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def question(self, cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`.

        Args:
            cache_use: How the request's headers allow the cache to be used.

        Raises:
            InvalidRequest: An image's URL is invalid, or a message that needs content has none.
            UrlBlocked: An image's URL is not allowed.
        """
        sources: list[Source] = []
        messages = tuple(
            Message(_role(message.role), _parts(message, sources, f"messages.{index}.content"))
            for index, message in enumerate(self.messages)
        )
        return Question(
            model=self.model,
            messages=messages,
            sources=tuple(sources),
            sampling=self._sampling(),
            stream=bool(self.stream),
            cache_use=cache_use,
        )

    def _sampling(self) -> Sampling:
        defaults = Sampling()
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens or defaults.max_tokens,
            temperature=self.temperature or defaults.temperature,
            top_p=self.top_p or defaults.top_p,
            seed=None if self.seed is None or self.seed < 0 else self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


def _role(role: str) -> Role:
    return Role.SYSTEM if role == "developer" else Role(role)


def _parts(message: ChatMessage, sources: list[Source], param: str) -> tuple[Part, ...]:
    """Converts a message's content to parts; appends the sources of its images to `sources`."""
    content = message.content
    if content is None:
        if message.role != "assistant":
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
            case ImageContent(image_url=image_url):
                parts.append(ImagePart(len(sources)))
                sources.append(parse_url(image_url.url, param=f"{param}.{index}.image_url"))
    return tuple(parts)
