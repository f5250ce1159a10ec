"""Cache keys: which requests have the same answer.

The key is a digest of everything that determines the answer, and of the tenant. It is computed here
from data that the gateway prepared; no key from a client is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from typing import Any

import msgspec

from silkline.core import EngineInfo, Message, PixelBudget, PromptOptions, Sampling, TextPart

KEY_BYTES = 32

_DOMAIN = b"silkline.key.2"
_CONTEXT_DOMAIN = b"silkline.near.2"
"""They separate these digests from all others; increase the numbers when the encoding changes."""

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """A request to the cache: a question with the digests of its images, not the images.

    Attributes:
        messages: The conversation.
        images: The digests of the images that the messages refer to, as the model sees them.
        sampling: The sampling parameters.
        timeout_seconds: The request's timeout.
        stream: Whether its client reads the answer as a stream.
        pixel_budgets: The pixel budget of each image that its client sent.
        perceptual: The 64-bit perceptual digest of its image, if it has exactly one, which is not
            a page of a document.
        options: How its prompt is written.
    """

    messages: tuple[Message, ...]
    images: tuple[str, ...]
    sampling: Sampling
    timeout_seconds: float
    stream: bool
    pixel_budgets: tuple[PixelBudget, ...]
    perceptual: int | None = None
    options: PromptOptions = field(default_factory=PromptOptions)


def answer_key(request: CacheRequest, info: EngineInfo, tenant: bytes) -> bytes:
    """The key of a request's answer: BLAKE2b-256 of its encoding.

    Args:
        request: The request.
        info: The description of the engine that answers it.
        tenant: The tenant's salt; answers are never shared between two salts.
    """
    encoding = encode_question(request, info, tenant)
    return hashlib.blake2b(encoding, digest_size=KEY_BYTES, person=_DOMAIN).digest()


def context_key(request: CacheRequest, info: EngineInfo, tenant: bytes) -> bytes:
    """The key of everything that determines the answer except the images: BLAKE2b-256.

    It includes the pixel budgets: the answer to a smaller image may be another one.
    """
    question = encode_question(replace(request, images=()), info, tenant)
    encoding = _encoder.encode((question, _plain(request.pixel_budgets)))
    return hashlib.blake2b(encoding, digest_size=KEY_BYTES, person=_CONTEXT_DOMAIN).digest()


def encode_question(request: CacheRequest, info: EngineInfo, tenant: bytes) -> bytes:
    """Encodes everything that determines the answer; different requests have different encodings.

    The format is MessagePack, where every value has its type and its length, so that the end of
    one text cannot be confused with the start of the next. Timeout and streaming are left out.
    """
    return _encoder.encode(
        (
            tenant,
            _engine(info.engine, info.model, info.revision, info.precision),
            _plain(request.messages),
            _plain(request.images),
            _encoded(request.sampling) if _is_small(request.sampling) else _plain(request.sampling),
            _plain(request.options) if request.options.tools else _encoded(request.options),
        )
    )


@lru_cache(maxsize=64)
def _engine(*names: str) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(tuple(map(_bytes, names))))


@lru_cache(maxsize=512)
def _encoded(value: Sampling | PromptOptions) -> msgspec.Raw:
    """The encoding of parameters, which many requests have in common."""
    return msgspec.Raw(_encoder.encode(_plain(value)))


def _is_small(sampling: Sampling) -> bool:
    """Whether it has no text or list of the client, which `_encoded` would keep."""
    return not (
        sampling.constraint
        or sampling.extra
        or sampling.stop
        or sampling.logit_bias
        or sampling.stop_token_ids
    )


def _plain(value: Any) -> Any:
    """Converts a value of the core to one of MessagePack; a dataclass to a list of all fields."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, int | float):
        # The same for 1 and 1.0, and for 0.0 and -0.0; MessagePack has integers of 64 bits.
        return value if value % 1 else str(int(value))
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, TextPart):
        return _bytes(value.text)
    return [_plain(getattr(value, name)) for name in _names(value.__class__)]


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _bytes(text: str) -> bytes:
    # Lone surrogates are allowed in JSON, but not in MessagePack strings.
    return text.encode("utf-8", "surrogatepass")
