"""What makes two requests the same question.

The key is a digest over everything that the answer follows from, and over the tenant. It is made
here from what the gateway itself prepared; nothing that a client calls a key takes part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import msgspec

from silkline.core import EngineInfo, Message, Sampling, TextPart

KEY_BYTES = 32

_DOMAIN = b"silkline.key.1"
_CONTEXT_DOMAIN = b"silkline.near.1"
"""Separate these digests from all others; the numbers change with the encoding."""

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the cache: a question whose pictures are named and need not be there.

    Attributes:
        messages: The conversation.
        pictures: The digests of the pictures that the messages point at, as the model sees them.
        sampling: How to answer.
        timeout_seconds: Seconds that the request has.
        stream: Whether its client reads the answer as it grows.
        pixel_budget: Most pixels that its pictures may have.
        perceptual: The 64-bit perceptual digest of its picture, where it has exactly one.
    """

    messages: tuple[Message, ...]
    images: tuple[str, ...]
    sampling: Sampling
    timeout_seconds: float
    stream: bool
    pixel_budget: int
    perceptual: int | None = None


def answer_key(asked: Asked, info: EngineInfo, tenant: bytes) -> bytes:
    """The key of a question's answer: BLAKE2b-256 of its encoding.

    Args:
        asked: The question.
        info: What answers it.
        tenant: The tenant's salt; answers are never shared between two salts.
    """
    encoding = encode_question(asked, info, tenant)
    return hashlib.blake2b(encoding, digest_size=KEY_BYTES, person=_DOMAIN).digest()


def context_key(asked: Asked, info: EngineInfo, tenant: bytes) -> bytes:
    """The key of all that a question's answer follows from but its pictures: BLAKE2b-256.

    How far pictures are reduced is a part of it: what was seen in less detail is another answer.
    """
    question = encode_question(replace(asked, images=()), info, tenant)
    encoding = _encoder.encode((question, asked.pixel_budget))
    return hashlib.blake2b(encoding, digest_size=KEY_BYTES, person=_CONTEXT_DOMAIN).digest()


def encode_question(asked: Asked, info: EngineInfo, tenant: bytes) -> bytes:
    """Writes down what the answer follows from; questions that differ in it differ in bytes.

    The form is MessagePack, where every value carries its type and its length, so that no text can
    be taken for another one's end. The time and the way of delivery are left out.
    """
    sampling = asked.sampling
    return _encoder.encode(
        (
            tenant,
            tuple(map(_bytes, (info.engine, info.model, info.revision, info.precision))),
            [_message(message) for message in asked.messages],
            [_bytes(digest) for digest in asked.images],
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
