"""Receives a request's body: decompresses it, and limits its size, rate and share of memory.

Size limits apply to the decompressed body, the rate limit to the bytes received.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from silkline.config import Settings
from silkline.errors import Overloaded, RequestTimeout, RequestTooLarge
from silkline.gateway.content_encoding import Unpacker, create_unpacker

MIN_RATE = 8 * 1024
"""Minimum bytes per second of a body after `body_timeout`; see Apache's MinRate."""

RESERVE = 64 * 1024
"""Bytes reserved for a body by its Content-Length: the size of the connection's own buffer.

The full length is not reserved: clients that announce large bodies and send nothing would lock out
everyone else.
"""


async def read_whole(receive: Receive) -> bytes:
    """Reads the whole body of a request, whose size an outer layer limits.

    Raises:
        ClientDisconnect: The client left before its end.
    """
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class BodyBudget:
    """Limits of each body, and a count of the bytes that all open requests' bodies hold."""

    def __init__(self, settings: Settings, max_bytes: int | None = None) -> None:
        """Reads the settings; `max_bytes` replaces the maximum bytes of a body."""
        self.max_bytes = settings.limits.max_body_bytes if max_bytes is None else max_bytes
        self.grace_seconds = settings.server.body_timeout
        self.max_seconds = settings.server.request_timeout
        self._max_held = max(settings.limits.max_held_body_bytes, self.max_bytes)
        self._held = 0

    def take(self, size: int) -> None:
        """Reserves more bytes.

        Raises:
            Overloaded: Other requests hold too many bytes.
        """
        if self._held + size > self._max_held:
            raise Overloaded(
                "The bodies of other requests use all the memory for bodies. Retry after the time "
                "in Retry-After."
            )
        self._held += size

    def give_back(self, size: int) -> None:
        """Releases bytes."""
        self._held -= size


class RequestBody:
    """The ASGI receive callable of one request; call `close` when the request has ended."""

    def __init__(self, receive: Receive, budget: BodyBudget, encoding: str = "") -> None:
        """Wraps `receive`; reserves nothing yet.

        Args:
            receive: The connection's receive callable.
            budget: The limits.
            encoding: The request's Content-Encoding, checked when the body is first read.
        """
        self._receive = receive
        self._budget = budget
        self._encoding = encoding
        self._unpacker: Unpacker | None = None
        self._began = asyncio.get_running_loop().time()
        self._received = 0
        self._unpacked = 0
        self._held = 0
        self._whole = False
        self._complete = False

    def announce(self, size: int) -> None:
        """Checks the Content-Length and reserves at most `RESERVE` bytes of it.

        Raises:
            RequestTooLarge: It is above the limit.
            Overloaded: Other requests hold too many bytes.
        """
        if size > self._budget.max_bytes:
            self._refuse_size()
        reserve = min(size, RESERVE)
        self._budget.take(reserve)
        self._held += reserve

    async def __call__(self) -> Message:
        """Returns the next ASGI message.

        Raises:
            UnsupportedEncoding: The body's encoding is not supported.
            InvalidRequest: The body cannot be decompressed.
            RequestTooLarge: The body is longer than the limit.
            RequestTimeout: The body arrives too slowly.
            Overloaded: Other requests hold too many bytes.
        """
        if self._complete:
            return await self._receive()
        if self._received == 0:
            self._unpacker = create_unpacker(self._encoding)
        if self._unpacker is not None:
            return await self._next_slice(self._unpacker)
        message = await self._next_message()
        self._hold(self._received)
        self._complete = self._whole
        return message

    async def _next_slice(self, unpacker: Unpacker) -> Message:
        while not (unpacked := unpacker.take()):
            if self._whole:
                unpacker.end()
                self._complete = True
                break
            message = await self._next_message()
            if message["type"] != "http.request":
                self._complete = True
                return message
            unpacker.feed(message.get("body", b""))
        self._unpacked += len(unpacked)
        self._hold(self._unpacked)
        await asyncio.sleep(0)  # let other tasks run between two slices
        return {"type": "http.request", "body": unpacked, "more_body": not self._complete}

    async def _next_message(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline()):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(
                f"The body arrived too slowly. Expected at least {MIN_RATE} bytes per second after "
                f"the first {self._budget.grace_seconds:g} s, and at most "
                f"{self._budget.max_seconds:g} s in total. Send a smaller body, or send it faster."
            ) from None
        self._received += len(message.get("body", b""))
        if self._received > self._budget.max_bytes:
            self._refuse_size()
        self._whole = not message.get("more_body", False)
        return message

    def _hold(self, size: int) -> None:
        """Reserves memory for the bytes of the body received so far."""
        if size > self._budget.max_bytes:
            self._refuse_size()
        if size > self._held:
            self._budget.take(size - self._held)
            self._held = size

    @property
    def received(self) -> int:
        """Bytes received so far, as the client sent them."""
        return self._received

    def close(self) -> None:
        """Releases all reserved bytes."""
        self._budget.give_back(self._held)
        self._held = 0

    def _deadline(self) -> float:
        seconds = self._budget.grace_seconds + self._received / MIN_RATE
        return self._began + min(seconds, self._budget.max_seconds)

    def _refuse_size(self) -> NoReturn:
        raise RequestTooLarge(
            f"The body is longer than the limit of {self._budget.max_bytes} bytes. Send a smaller "
            "body, or the image's URL instead of its bytes."
        )
