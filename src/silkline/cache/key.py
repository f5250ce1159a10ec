"""What makes two requests the same question.

The key is a digest over everything that the answer follows from, and over the tenant. It is made
here from what the gateway itself prepared; nothing that a client calls a key takes part.
"""

from __future__ import annotations

import hashlib

import msgspec

from silkline.core import Message, Request, TextPart
from silkline.engines.base import EngineInfo

KEY_BYTES = 32

_DOMAIN = b"silkline.key.1"
"""Separates these digests from all others; the number changes with the encoding."""

_encoder = msgspec.msgpack.Encoder()


def is_deterministic(request: Request) -> bool:
    """Whether the same request has the same answer: at temperature 0, or with a seed."""
    return request.sampling.temperature == 0 or request.sampling.seed is not None


def answer_key(request: Request, info: EngineInfo, tenant: bytes) -> bytes:
    """The key of a request's answer: BLAKE2b-256 of its encoding.

    Args:
        request: The question, with its pictures as the model sees them.
        info: What answers it.
        tenant: The tenant's salt; answers are never shared between two salts.
    """
    encoding = encode_request(request, info, tenant)
    return hashlib.blake2b(encoding, digest_size=KEY_BYTES, person=_DOMAIN).digest()


def encode_request(request: Request, info: EngineInfo, tenant: bytes) -> bytes:
    """Writes down what the answer follows from; requests that differ in it differ in bytes.

    The form is MessagePack, where every value carries its type and its length, so that no text can
    be taken for another one's end. The request's id, deadline and way of delivery are left out.
    Pictures stand as their digests (of mode, size and pixels).
    """
    sampling = request.sampling
    return _encoder.encode(
        (
            tenant,
            tuple(map(_bytes, (info.engine, info.model, info.revision, info.precision))),
            [_message(message) for message in request.messages],
            [_bytes(image.digest) for image in request.images],
            sampling.max_tokens,
            # Adding zero makes one number of 0, 0.0 and -0.0.
            sampling.temperature + 0.0,
            sampling.top_p + 0.0,
            sampling.seed if sampling.seed is None else str(sampling.seed),
            [_bytes(text) for text in sampling.stop],
        )
    )


def _message(message: Message) -> tuple[bytes, list[bytes | int]]:
    parts = [
        _bytes(part.text) if isinstance(part, TextPart) else part.index for part in message.parts
    ]
    return _bytes(message.role), parts


def _bytes(text: str) -> bytes:
    # Lone surrogates are legal in JSON, but not in the strings of MessagePack.
    return text.encode("utf-8", "surrogatepass")
