"""The body of `POST /v1/chat/completions`: what of the OpenAI API is taken, and what it means.

A field that would change the answer but is not supported is refused, never silently ignored, except
at the value that has no effect (`n` of 1, an empty `tools`); null is the same as absent. Fields
with no effect on the answer (`user`, `metadata`, ...) are taken and left alone.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.cache.policy import CacheUse
from silkline.core import ImagePart, Message, Part, Role, Sampling, TextPart
from silkline.gateway.body import only_without_effect
from silkline.ingress.source import Source, parse_url
from silkline.service.question import Question

_MAX_SEED = 2**63 - 1
_MAX_PARTS = 1024
_MAX_MESSAGES = 10_000
_MAX_STOPS = 4
_MAX_STOP_CHARS = 256

_EmptyList = Annotated[list[Any], Meta(max_length=0)]
_EmptyTable = Annotated[dict[str, Any], Meta(max_length=0)]
_Zero = Annotated[float, Meta(ge=0, le=0)]
_Tokens = Annotated[int, Meta(ge=1)]
_StopString = Annotated[str, Meta(min_length=1, max_length=_MAX_STOP_CHARS)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextContent(_Body, frozen=True, tag_field="type", tag="text"):
    """A piece of text in a message."""

    text: str


class ImageUrl(_Body, frozen=True):
    """Where a picture is: an http, https or data URL.

    `detail` is taken for compatibility; the model's own picture size is used.
    """

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageContent(_Body, frozen=True, tag_field="type", tag="image_url"):
    """A picture in a message."""

    image_url: ImageUrl


Content = TextContent | ImageContent


class ChatMessage(_Body, frozen=True):
    """One turn of the conversation; an answer of this server may be sent back as it came."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Content], Meta(max_length=_MAX_PARTS)]
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: _EmptyList | None = None
    tool_calls: _EmptyList | None = None


class StreamOptions(_Body, frozen=True):
    """What a stream carries beside text; `include_obfuscation` has no effect."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class PlainResponseFormat(_Body, frozen=True):
    """The only response format there is."""

    type: Literal["text"]


class ChatRequest(_Body, frozen=True):
    """A chat completion request. A request that names no temperature is answered greedily."""

    ONLY: ClassVar[Mapping[str, str]] = {
        "n": "1",
        "presence_penalty": "0",
        "frequency_penalty": "0",
        "logit_bias": "{}",
        "logprobs": "false",
        "top_logprobs": "null",
        "response_format": '{"type": "text"}',
        "modalities": '["text"]',
        "tools": "[]",
        "tool_choice": '"none" or "auto"',
        "reasoning_effort": "null",
    }
    """Fields of features that there are not, with the value that wants none of them."""

    VALUES: ClassVar[Mapping[str, str]] = {
        "messages.role": "system, developer, user or assistant",
        "messages.content.type": "text or image_url",
        "messages.content.image_url.detail": "auto, low or high",
    }
    """The values of fields that have few, by the field's place without numbers."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=_MAX_MESSAGES)]
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=0, le=_MAX_SEED)] | None = None
    stop: _StopString | Annotated[list[_StopString], Meta(max_length=_MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    presence_penalty: _Zero | None = None
    frequency_penalty: _Zero | None = None
    logit_bias: _EmptyTable | None = None
    logprobs: bool | None = None
    top_logprobs: None = None
    response_format: PlainResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    tools: _EmptyList | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def question(self, cache_use: CacheUse) -> Question:
        """The request in the gateway's own terms.

        Args:
            cache_use: What the request's headers want of the cache.

        Raises:
            InvalidRequest, UrlBlocked: A picture's URL is not one that is taken, or a field asks
                for what is not supported.
        """
        if self.logprobs:
            raise only_without_effect("logprobs", self.ONLY["logprobs"])
        sources: list[Source] = []
        messages = tuple(
            Message(
                _role(message.role), _parts(message.content, sources, f"messages.{place}.content")
            )
            for place, message in enumerate(self.messages)
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
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


def _role(role: str) -> Role:
    return Role.SYSTEM if role == "developer" else Role(role)


def _parts(content: str | list[Content], sources: list[Source], param: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for place, piece in enumerate(content):
        if isinstance(piece, TextContent):
            parts.append(TextPart(piece.text))
        else:
            parts.append(ImagePart(len(sources)))
            sources.append(parse_url(piece.image_url.url, param=f"{param}.{place}.image_url"))
    return tuple(parts)
