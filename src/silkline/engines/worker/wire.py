"""The messages between gateway and worker, strictly typed.

Calls are frames (see `frames`) with msgpack bodies; the worker's options and its start report are
lines of JSON. Decoding validates: a missing or unknown field, a wrong type or a value out of range
is an error. Bodies are arrays, not maps, so every change of a field needs a new `WIRE_VERSION`;
gateway and worker must have the same one.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

from silkline.core import (
    Constraint,
    Delta,
    EngineInfo,
    Feature,
    FinishReason,
    Health,
    Image,
    ImagePart,
    LoraAdapter,
    Message,
    Part,
    PixelBudget,
    PromptOptions,
    Request,
    Role,
    Sampling,
    Stage,
    TextPart,
    Timeline,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from silkline.engines.base import EngineOptions
from silkline.errors import (
    ERRORS_BY_CODE,
    UNDECODABLE,
    CapacityError,
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    SilklineError,
    http_face,
)

WIRE_VERSION: Final = 6

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_MAX_SECONDS = 1e9  # excludes infinity and NaN
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_SECONDS)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_Body = TypeVar("_Body")

StartKind: TypeAlias = Literal["ready", "environment", "config", "failed"]


class _Array(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A body, or a part of one."""


class _Image(_Array):
    width: _Positive
    height: _Positive
    pixels: bytes
    digest: str


class _Message(_Array):
    role: Role
    parts: tuple[str | _Count, ...]  # text, or the index of an image
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str
    reasoning: str


class _Sampling(_Array):
    max_tokens: _Count
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)]
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)]
    seed: int | None
    stop: tuple[str, ...]
    top_k: _Count
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)]
    frequency_penalty: _Penalty
    presence_penalty: _Penalty
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01)]
    logit_bias: tuple[tuple[_Count, float], ...]
    min_tokens: _Count
    ignore_eos: bool
    stop_token_ids: tuple[_Count, ...]
    include_stop: bool
    logprobs: _Count | None
    constraint: Constraint | None
    extra: str


class _Request(_Array):
    wire: Literal[6]
    id: str
    messages: Annotated[tuple[_Message, ...], msgspec.Meta(min_length=1)]
    images: tuple[_Image, ...]
    sampling: _Sampling
    timeout_seconds: _Seconds
    stream: bool
    options: PromptOptions
    reuse_scope: bytes | None
    adapter: LoraAdapter | None


class _Usage(_Array):
    prompt_tokens: _Count
    completion_tokens: _Count
    image_tokens: _Count
    cached_tokens: _Count
    reasoning_tokens: _Count


class _Delta(_Array):
    text: str
    finish_reason: FinishReason | None
    usage: _Usage | None
    timeline: dict[Stage, _Seconds] | None
    reasoning: str
    tool_calls: tuple[ToolCallDelta, ...]
    logprobs: tuple[TokenLogprob, ...]
    stop: str
    prompt_ids: tuple[int, ...]


class _Info(_Array):
    wire: Literal[6]
    engine: str
    model: str
    revision: str
    precision: str
    context_length: _Positive
    image_tokens: _Count
    pixel_budget: PixelBudget
    pixels_per_token: _Positive | None
    instruction_set: str | None
    features: frozenset[Feature]
    sampling_defaults: tuple[tuple[str, float], ...]
    path: str


class _Health(_Array):
    running: _Count
    queued: _Count
    seconds_since_progress: _Seconds
    cache_use: Annotated[float, msgspec.Meta(ge=0, le=1)]
    busy_seconds: _Seconds
    slot_seconds: _Seconds


class _Error(_Array):
    code: str
    message: str
    param: str | None
    retry_after: _Positive | None


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    model: str | None
    max_batch: _Positive
    kv_cache_bytes: _Count
    kv_cache_limit: _Count
    threads: _Count
    extra: dict[str, str]
    name: str
    revision: str
    adapters: tuple[LoraAdapter, ...]


class StartReport(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The one line that a worker writes to its standard output when it is ready or has failed.

    Attributes:
        kind: "ready", or the kind of error that stopped the start.
        message: The error's message; empty for "ready".
    """

    kind: StartKind
    message: str = ""


def encode_request(request: Request) -> bytes:
    """Encodes a request, streamed or not.

    Raises:
        InvalidRequest: A text has an unpaired surrogate, or the seed more than 64 bits.
    """
    body = _Request(
        WIRE_VERSION,
        request.id,
        tuple(
            _Message(
                message.role,
                tuple(_encode_part(part) for part in message.parts),
                message.tool_calls,
                message.tool_call_id,
                message.reasoning,
            )
            for message in request.messages
        ),
        tuple(
            _Image(image.width, image.height, image.pixels, image.digest)
            for image in request.images
        ),
        _Sampling(*(getattr(request.sampling, name) for name in _Sampling.__struct_fields__)),
        min(max(request.timeout_seconds, 0.0), _MAX_SECONDS),
        request.stream,
        request.options,
        request.reuse_scope,
        request.adapter,
    )
    try:
        return msgspec.msgpack.encode(body)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "A text contains an unpaired surrogate, which is not a character; send valid Unicode.",
            param="messages",
        ) from error
    except OverflowError as error:
        raise InvalidRequest(
            "The seed has more than 64 bits; use a smaller one.", param="seed"
        ) from error


def decode_request(body: bytes | memoryview) -> Request:
    """Decodes a request. Raises `InvalidRequest` if the body is malformed."""
    wire = _decode(body, _Request)
    if any(len(image.pixels) != image.width * image.height * 3 for image in wire.images):
        raise _malformed()
    return Request(
        id=wire.id,
        messages=tuple(
            Message(
                message.role,
                tuple(_decode_part(part) for part in message.parts),
                message.tool_calls,
                message.tool_call_id,
                message.reasoning,
            )
            for message in wire.messages
        ),
        images=tuple(
            Image(image.width, image.height, image.pixels, image.digest) for image in wire.images
        ),
        sampling=Sampling(**msgspec.structs.asdict(wire.sampling)),
        timeout_seconds=wire.timeout_seconds,
        stream=wire.stream,
        options=wire.options,
        reuse_scope=wire.reuse_scope,
        adapter=wire.adapter,
    )


def encode_delta(delta: Delta) -> bytes:
    """Encodes a delta: a part of an answer, or a whole one."""
    usage = delta.usage
    return msgspec.msgpack.encode(
        _Delta(
            delta.text,
            delta.finish_reason,
            None
            if usage is None
            else _Usage(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.image_tokens,
                usage.cached_tokens,
                usage.reasoning_tokens,
            ),
            None if delta.timeline is None else delta.timeline.seconds,
            delta.reasoning,
            delta.tool_calls,
            delta.logprobs,
            delta.stop,
            delta.prompt_ids,
        )
    )


def decode_delta(body: bytes) -> Delta:
    """Decodes a delta. Raises `InvalidRequest` if the body is malformed."""
    wire = _decode(body, _Delta)
    usage = wire.usage
    return Delta(
        wire.text,
        wire.finish_reason,
        None if usage is None else Usage(**msgspec.structs.asdict(usage)),
        None if wire.timeline is None else Timeline(wire.timeline),
        wire.reasoning,
        wire.tool_calls,
        wire.logprobs,
        wire.stop,
        wire.prompt_ids,
    )


def encode_info(info: EngineInfo) -> bytes:
    """Encodes an engine's info."""
    fields = (getattr(info, name) for name in _Info.__struct_fields__[1:])
    return msgspec.msgpack.encode(_Info(WIRE_VERSION, *fields))


def decode_info(body: bytes) -> EngineInfo:
    """Decodes an info. Raises `InvalidRequest` if it is malformed or of another version."""
    fields = msgspec.structs.asdict(_decode(body, _Info))
    del fields["wire"]
    return EngineInfo(**fields)


def encode_health(health: Health) -> bytes:
    """Encodes an engine's health."""
    return msgspec.msgpack.encode(_Health(*astuple(health)))


def decode_health(body: bytes) -> Health:
    """Decodes a health. Raises `InvalidRequest` if the body is malformed."""
    return Health(*msgspec.structs.astuple(_decode(body, _Health)))


def encode_error(error: SilklineError) -> bytes:
    """Encodes an error; one without an HTTP status becomes an `InternalFault`."""
    retry_after = error.retry_after if isinstance(error, CapacityError) else None
    return msgspec.msgpack.encode(
        _Error(http_face(error).code, error.message, error.param, retry_after)
    )


def decode_error(body: bytes) -> SilklineError:
    """Decodes an error. Raises `InvalidRequest` if the body is malformed."""
    wire = _decode(body, _Error)
    kind = ERRORS_BY_CODE.get(wire.code, InternalFault)
    if issubclass(kind, CapacityError) and not issubclass(kind, DeadlineExceeded):
        return kind(wire.message, param=wire.param, retry_after=wire.retry_after)
    return kind(wire.message, param=wire.param)


def encode_options(options: EngineOptions) -> bytes:
    """Encodes the options as the line of JSON that a worker reads from its standard input."""
    fields = {name: getattr(options, name) for name in _Options.__struct_fields__}
    fields["model"] = None if options.model is None else str(options.model)
    fields["extra"] = dict(options.extra)
    return msgspec.json.encode(_Options(**fields))


def decode_options(line: bytes) -> EngineOptions:
    """Decodes the options. Raises `InvalidRequest` if the line is malformed."""
    try:
        wire = msgspec.json.decode(line, type=_Options)
    except UNDECODABLE as error:
        raise _malformed() from error
    fields = msgspec.structs.asdict(wire)
    fields["model"] = None if wire.model is None else Path(wire.model)
    return EngineOptions(**fields)


def _encode_part(part: Part) -> str | int:
    return part.text if isinstance(part, TextPart) else part.index


def _decode_part(part: str | int) -> Part:
    return TextPart(part) if isinstance(part, str) else ImagePart(part)


def _decode(body: bytes | memoryview, kind: type[_Body]) -> _Body:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except UNDECODABLE as error:
        raise _malformed() from error


def _malformed() -> InvalidRequest:
    return InvalidRequest(
        "A message between gateway and worker is malformed. Install the same version of Silkline "
        "for both."
    )
