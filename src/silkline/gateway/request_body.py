"""A request's body on its way in: unpacked, and held to its size, its rate and the bytes of all.

Sizes are those of the unpacked body; the rate is that of the bytes that come.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from starlette.types import Message, Receive

from silkline.config import Settings
from silkline.errors import Overloaded, RequestTimeout, RequestTooLarge
from silkline.gateway.content_encoding import Unpacker, create_unpacker

MIN_RATE = 8 * 1024
"""Bytes a second that a body has to keep to after `body_timeout`; see Apache's MinRate."""

RESERVE = 64 * 1024
"""Bytes held for a body that was announced: what may wait in the connection's own buffer.

Not the whole length: clients that announce much and send nothing would lock everyone else out.
"""


class BodyBudget:
    """The bounds of one body, and how many bytes the bodies of all open requests hold."""

    def __init__(self, settings: Settings) -> None:
        self.max_bytes = settings.limits.max_body_bytes
        self.grace_seconds = settings.server.body_timeout
        self.max_seconds = settings.server.request_timeout
        self._max_held = max(settings.limits.max_held_body_bytes, self.max_bytes)
        self._held = 0

    def take(self, size: int) -> None:
        """Holds more bytes.

        Raises:
            Overloaded: Others hold too many.
        """
        if self._held + size > self._max_held:
            raise Overloaded("The bodies of other requests take all memory; try again later.")
        self._held += size

    def give_back(self, size: int) -> None:
        """Holds fewer bytes."""
        self._held -= size


class RequestBody:
    """The receive side of one request; call `close` when the request has ended."""

    def __init__(self, receive: Receive, budget: BodyBudget, encoding: str = "") -> None:
        """Wraps `receive`; nothing is held yet.

        Args:
            receive: The connection's own receive side.
            budget: The bounds.
            encoding: The request's Content-Encoding, which counts when the body is first read.
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
        """Takes the length that the head gives; of it, a reserve is held until more has come.

        Raises:
            RequestTooLarge: It is above the bound.
            Overloaded: Others hold too many bytes.
        """
        if size > self._budget.max_bytes:
            self._refuse_size()
        reserve = min(size, RESERVE)
        self._budget.take(reserve)
        self._held += reserve

    async def __call__(self) -> Message:
        """The next ASGI message.

        Raises:
            UnsupportedEncoding: The body has an encoding that is not taken.
            InvalidRequest: It cannot be unpacked.
            RequestTooLarge: It is longer than the bound.
            RequestTimeout: It comes too slowly.
            Overloaded: Others hold too many bytes.
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
        await asyncio.sleep(0)  # others may go on between two slices
        return {"type": "http.request", "body": unpacked, "more_body": not self._complete}

    async def _next_message(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline()):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(
                "The body comes too slowly. Send it again, faster or smaller."
            ) from None
        self._received += len(message.get("body", b""))
        if self._received > self._budget.max_bytes:
            self._refuse_size()
        self._whole = not message.get("more_body", False)
        return message

    def _hold(self, size: int) -> None:
        """Holds as many bytes as the body has so far."""
        if size > self._budget.max_bytes:
            self._refuse_size()
        if size > self._held:
            self._budget.take(size - self._held)
            self._held = size

    def close(self) -> None:
        """Holds nothing any more."""
        self._budget.give_back(self._held)
        self._held = 0

    def _deadline(self) -> float:
        seconds = self._budget.grace_seconds + self._received / MIN_RATE
        return self._began + min(seconds, self._budget.max_seconds)

    def _refuse_size(self) -> NoReturn:
        raise RequestTooLarge(
            f"The body is longer than {self._budget.max_bytes} bytes. Send less, or send the "
            "picture's URL."
        )
