"""The stored form of an answer, for retries with the same idempotency key."""

from __future__ import annotations

import hashlib

import msgspec
from starlette.types import Message, Send

from silkline.errors import UNDECODABLE

_CHECKSUM_BYTES = 16
_REPLAYED = (b"idempotent-replayed", b"true")


class SavedAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A complete response.

    Attributes:
        status: The HTTP status.
        headers: The headers, without those that an outer layer adds to every response.
        body: The body; for a stream, all events.
        error: The error code of an error response, else None.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    error: str | None

    def encode(self) -> bytes:
        """Encodes the answer as a checksum followed by MessagePack."""
        content = msgspec.msgpack.encode(self)
        return _checksum(content) + content

    async def send(self, send: Send) -> None:
        """Sends the response, with a header that marks it as a replay."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*self.headers, _REPLAYED],
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def decode_saved(data: bytes) -> SavedAnswer | None:
    """Decodes the bytes from `encode`; None if they are corrupt."""
    checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if checksum != _checksum(content):
        return None
    try:
        return msgspec.msgpack.decode(content, type=SavedAnswer)
    except UNDECODABLE:
        return None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
