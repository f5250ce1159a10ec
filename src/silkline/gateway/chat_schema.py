"""The body of `POST /v1/chat/completions`: what of the OpenAI API is taken, and what it means.

Fields that would change the answer but are not supported are refused, never silently ignored;
fields with no effect on it (`user`, `metadata`, ...) are taken and left alone.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from silkline.core import ImagePart, Message, Part, Role, Sampling, TextPart
from silkline.errors import InvalidRequest
from silkline.gateway.question import Question
from silkline.ingress.source import Source, parse_url

_MAX_SEED = 2**63 - 1


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TextContent(_Body):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class ImageUrl(_Body):
    """Where a picture is."""

    url: str = Field(description="http, https or data URL.")
    detail: Literal["auto", "low", "high"] = Field(
        "auto", description="Taken for compatibility; the model's own picture size is used."
    )


class ImageContent(_Body):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Content = Annotated[TextContent | ImageContent, Field(discriminator="type")]


class ChatMessage(_Body):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Content]
    name: str | None = Field(None, description="Taken for compatibility; has no effect.")


class StreamOptions(_Body):
    """What a stream carries beside text."""

    include_usage: bool = False
    include_obfuscation: bool = Field(default=False, description="Has no effect.")


class PlainResponseFormat(_Body):
    """The only response format there is."""

    type: Literal["text"]


class ChatRequest(_Body):
    """A chat completion request."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2, description="0, the default, is greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=_MAX_SEED)
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logprobs: Literal[False] = False
    response_format: PlainResponseFormat | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that holds the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def question(self) -> Question:
        """The request in the gateway's own terms.

        Raises:
            InvalidRequest, UrlBlocked, ImageTooLarge: A picture's URL is not one that is taken.
        """
        sources: list[Source] = []
        messages = tuple(
            Message(_role(message.role), _parts(message.content, sources, f"messages.{place}"))
            for place, message in enumerate(self.messages)
        )
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if "" in stop:
            raise InvalidRequest("A stop string is empty. Leave it out.", param="stop")
        defaults = Sampling()
        return Question(
            model=self.model,
            messages=messages,
            sources=tuple(sources),
            sampling=Sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens or defaults.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed,
                stop=stop,
            ),
            stream=self.stream,
        )


def _role(role: str) -> Role:
    return Role.SYSTEM if role == "developer" else Role(role)


def _parts(content: str | list[Content], sources: list[Source], param: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for piece in content:
        if isinstance(piece, TextContent):
            parts.append(TextPart(piece.text))
        else:
            parts.append(ImagePart(len(sources)))
            sources.append(parse_url(piece.image_url.url, param=f"{param}.image_url"))
    return tuple(parts)
