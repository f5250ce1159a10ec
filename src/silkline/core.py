"""The nouns that every room shares.

A `Request` holds a conversation and the pictures that its messages point at; an engine answers it
with a stream of `Delta`s, the last of which says why it ended and what it used; an `Answer` is such
a stream put together. All of them are frozen, hold plain values and know nothing of HTTP, of a
cache or of an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why an answer ended, in the words of the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Image:
    """A normalised picture: upright, opaque, 8 bits a channel.

    Attributes:
        width: Pixels in a row, at least 1.
        height: Rows, at least 1.
        pixels: RGB bytes, row by row from the top left, exactly `width * height * 3` of them.
        digest: Hex digest of mode, size and pixels; equal digests mean equal pictures.
    """

    width: int
    height: int
    pixels: bytes = field(repr=False)
    digest: str


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """The place of a picture in a message; `index` counts into `Request.images`, from 0."""

    index: int


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: text and pictures in the order in which they were sent."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: Most tokens to generate, at least 1.
        temperature: 0 takes the likeliest token each time; otherwise 0 to 2.
        top_p: Nucleus sampling, above 0 and at most 1; not used at temperature 0.
        seed: Makes sampling repeatable where the engine can; None leaves it free.
        stop: The answer ends before the first of these strings, which is not part of it.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def is_deterministic(self) -> bool:
        """Whether asking again gives the same answer: at temperature 0, or with a seed."""
        return self.temperature == 0 or self.seed is not None


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        id: The request id that every log line, span and header carries.
        messages: The conversation, oldest first, at least one message.
        images: The pictures that the messages' `ImagePart`s point at.
        sampling: How to answer.
        timeout_seconds: Seconds left for the engine; it stops when they are over.
        stream: Whether the client reads the answer as it grows; when False, an engine that is far
            away may send the whole answer in one delta.
        idempotency_key: The same for every attempt at one execution, for servers further on that
            can tell by it that they have begun already; empty where there is none.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Image, ...] = ()
    sampling: Sampling = Sampling()
    timeout_seconds: float = 120.0
    stream: bool = True
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, in tokens.

    Attributes:
        prompt_tokens: All tokens that went in, those of the pictures included.
        completion_tokens: Tokens that came out, the end token included where there is one.
        image_tokens: The part of `prompt_tokens` that stands for pictures.
        cached_tokens: The part of `prompt_tokens` that the engine did not compute again.
    """

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens in and out."""
        return self.prompt_tokens + self.completion_tokens


class Stage(StrEnum):
    """Where the time of a request can go, in the order in which a request walks."""

    FETCH = "fetch"
    DECODE = "decode"
    RESIZE = "resize"
    CACHE = "cache"
    QUEUE = "queue"
    PREFILL = "prefill"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds spent in each stage; a stage that did not happen is absent."""

    seconds: dict[Stage, float] = field(default_factory=dict)

    def plus(self, other: Timeline) -> Timeline:
        """Both timelines as one; stages that stand in both are added up."""
        merged = dict(self.seconds)
        for stage, seconds in other.seconds.items():
            merged[stage] = merged.get(stage, 0.0) + seconds
        return Timeline(merged)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer.

    Every delta but the last has only text. The last one of a stream, and only that, has a
    `finish_reason`, the usage and the engine's stages; its text may be empty.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timeline: Timeline | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timeline: Timeline


def join(deltas: Sequence[Delta]) -> Delta:
    """All deltas of an answer as one, which is its last; there must be at least one."""
    return replace(deltas[-1], text="".join(delta.text for delta in deltas))


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """How large a picture is of use to the model; a larger one is reduced before it gets there.

    Attributes:
        shortest_edge: Where the model scales every picture until its shorter edge has this many
            pixels, that number: reducing to it beforehand changes nothing. None elsewhere.
        max_pixels: Most pixels of a picture, whatever its shape.
    """

    max_pixels: int = 1024 * 1024
    shortest_edge: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is.

    Attributes:
        engine: The engine's registered name.
        model: The model's public name, as clients send it.
        revision: Digest or revision of what is served, short.
        precision: Of the weights, such as "int8" or "float32".
        context_length: Most tokens of prompt and answer together.
        image_tokens: Most prompt tokens that one picture takes.
        pixel_budget: How large a picture is of use.
        pixels_per_token: Pixels that one token of a picture stands for, where the number of tokens
            follows the picture's size; None where every picture takes `image_tokens`.
        instruction_set: Of the CPU that computes, such as "AVX2"; None where the engine computes
            on a GPU, on another machine, or does not say.
    """

    engine: str
    model: str
    revision: str
    precision: str
    context_length: int
    image_tokens: int
    pixel_budget: PixelBudget = PixelBudget()
    pixels_per_token: int | None = None
    instruction_set: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine gets on, judged by progress: a process that answers may still be stuck.

    Attributes:
        running: Requests that are being computed.
        queued: Requests that wait inside the engine.
        seconds_since_progress: Age of the last step; 0.0 while there is nothing to do.
        cache_use: Share of the KV cache in use, 0 to 1.
    """

    running: int
    queued: int
    seconds_since_progress: float
    cache_use: float = 0.0
