"""An answer as it is kept for requests that come again with the same key."""

from __future__ import annotations

import hashlib

import msgspec
from starlette.types import Message, Send

from silkline.errors import UNDECODABLE

_CHECKSUM_BYTES = 16
_REPLAYED = (b"idempotent-replayed", b"true")


class SavedAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A whole response.

    Attributes:
        status: Its HTTP status.
        headers: Its headers, but for those that every response gets anew.
        body: Its body; of a stream, all events.
        error: The code of the error that it tells of, if it does.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    error: str | None

    def encode(self) -> bytes:
        """MessagePack behind a checksum."""
        content = msgspec.msgpack.encode(self)
        return _checksum(content) + content

    async def send(self, send: Send) -> None:
        """Answers with it; its headers say that it is a replay."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*self.headers, _REPLAYED],
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def decode_saved(data: bytes) -> SavedAnswer | None:
    """The way back; None when the bytes are not what `encode` gave."""
    checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if checksum != _checksum(content):
        return None
    try:
        return msgspec.msgpack.decode(content, type=SavedAnswer)
    except UNDECODABLE:
        return None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
