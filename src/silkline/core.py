"""The data types that all packages share.

A `Request` holds a conversation and the images that its messages refer to. An engine answers it
with a stream of `Delta`s; the last one has the finish reason and the usage. An `Answer` is the
whole stream joined. All types are frozen, hold plain values and do not depend on HTTP, the cache or
the engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Role(StrEnum):
    """The role of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why an answer ended, as in the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Image:
    """A normalised image: upright, opaque, 8 bits per channel.

    Attributes:
        width: Pixels in a row, at least 1.
        height: Rows, at least 1.
        pixels: RGB bytes, row by row from the top left, exactly `width * height * 3` of them.
        digest: Hex digest of mode, size and pixels; equal digests mean equal images.
    """

    width: int
    height: int
    pixels: bytes = field(repr=False)
    digest: str


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message; `index` is its index in `Request.images`, from 0."""

    index: int


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: text and images in the order in which they were sent."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: Maximum tokens to generate, at least 1.
        temperature: 0 to 2; 0 always takes the most likely token.
        top_p: Nucleus sampling, above 0 and at most 1; not used at temperature 0.
        seed: Makes sampling repeatable if the engine supports it; None means no seed.
        stop: The answer ends before the first of these strings, which is not part of it.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def is_deterministic(self) -> bool:
        """Whether the same request gives the same answer: at temperature 0, or with a seed."""
        return self.temperature == 0 or self.seed is not None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to an engine.

    Attributes:
        id: The request id in every log line, span and header.
        messages: The conversation, oldest first, at least one message.
        images: The images that the messages' `ImagePart`s refer to.
        sampling: How to choose tokens, and when to stop.
        timeout_seconds: Seconds left for the engine; it stops when they are over.
        stream: Whether the client reads the answer as a stream; if False, a remote engine may send
            the whole answer in one delta.
        idempotency_key: The same for every attempt at one request, so that a remote server
            recognises a retry; empty means none.
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
        prompt_tokens: All tokens of the prompt, including image tokens.
        completion_tokens: Generated tokens, including the end token if there is one.
        image_tokens: How many of `prompt_tokens` are image tokens.
        cached_tokens: How many of `prompt_tokens` the engine took from its cache.
    """

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class Stage(StrEnum):
    """The stages of a request, in their order."""

    FETCH = "fetch"
    DECODE = "decode"
    RESIZE = "resize"
    CACHE = "cache"
    QUEUE = "queue"
    PREFILL = "prefill"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds spent in each stage; skipped stages are absent."""

    seconds: dict[Stage, float] = field(default_factory=dict)

    def plus(self, other: Timeline) -> Timeline:
        """Returns the sum of both timelines, stage by stage."""
        merged = dict(self.seconds)
        for stage, seconds in other.seconds.items():
            merged[stage] = merged.get(stage, 0.0) + seconds
        return Timeline(merged)


@dataclass(frozen=True, slots=True)
class Delta:
    """A chunk of an answer.

    Only the last delta of a stream has a `finish_reason`, the usage and the engine's timeline; its
    text may be empty. All others have only text.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timeline: Timeline | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timeline: Timeline


def join(deltas: Sequence[Delta]) -> Delta:
    """Joins the deltas of an answer, at least one, into a single final delta."""
    return replace(deltas[-1], text="".join(delta.text for delta in deltas))


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """The largest image that the model can use; larger images are reduced before they reach it.

    Attributes:
        max_pixels: Maximum pixels of an image, whatever its shape.
        shortest_edge: Set if the model scales every image until its shorter edge has this many
            pixels: reducing the image to that size beforehand changes nothing. Otherwise None.
    """

    max_pixels: int = 1024 * 1024
    shortest_edge: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Describes an engine and the model that it serves.

    Attributes:
        engine: The engine's registered name.
        model: The model's public name, as clients send it.
        revision: Short digest or revision of the model.
        precision: Precision of the weights, such as "int8" or "float32".
        context_length: Maximum tokens of prompt and answer together.
        image_tokens: Maximum prompt tokens of one image.
        pixel_budget: The largest image that the model can use.
        pixels_per_token: Pixels per image token, if the number of tokens depends on the image's
            size; None if every image takes `image_tokens`.
        instruction_set: The CPU's instruction set, such as "AVX2"; None if the engine runs on a
            GPU, on another machine, or does not report it.
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
    """Status of an engine, judged by its progress: a process that responds may still be stuck.

    Attributes:
        running: Requests that are being computed.
        queued: Requests that wait inside the engine.
        seconds_since_progress: Seconds since the last step; 0.0 while the engine is idle.
        cache_use: Share of the KV cache in use, 0 to 1.
    """

    running: int
    queued: int
    seconds_since_progress: float
    cache_use: float = 0.0
