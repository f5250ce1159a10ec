"""The frame protocol that multiplexes calls over the socket between gateway and worker.

A frame is a header of nine bytes (length of the body, kind, number of the call) and a body. The
gateway numbers its calls. The worker answers each with frames of the same number, in order; the
last one is `LAST` or `ERROR`. The gateway cancels a call that it no longer needs, and ignores its
further frames. When the connection ends, all its calls end on both sides.

On a network, the gateway's first frame is `HELLO` with the worker's secret; until then the worker
reads no longer frame, and closes the connection at any other one.
"""

from __future__ import annotations

import asyncio
import struct
from abc import abstractmethod
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, cast

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""Maximum bytes of a body; sixteen images of the default pixel budget are 50 MB."""

MIN_BUFFER_BYTES: Final = 64 * 1024
KEPT_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Size of the receive buffer: initially, and the most that is kept; a frame that needs more gets it
until it is read."""

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Unsent bytes above which writers wait, because the other side does not read."""

_HEADER: Final = struct.Struct("<IBI")


class Kind(IntEnum):
    """The kind of a frame."""

    INFO = 1
    """Asks for the engine's info."""
    HEALTH = 2
    """Asks for the engine's health."""
    GENERATE = 3
    """A request that is answered by any number of `CHUNK` and one `LAST`."""
    ANSWER = 4
    """A request that is answered by `LAST` alone."""
    CANCEL = 5
    """Cancels a call."""
    CHUNK = 6
    """A part of the answer; more follows."""
    LAST = 7
    """The last part of the answer, or the whole answer."""
    ERROR = 8
    """The error that ends the call."""
    HELLO = 9
    """The worker's secret; it has no answer."""


_KINDS: Final = {kind.value: kind for kind in Kind}


class BrokenFrame(Exception):
    """The received bytes are not a valid frame; the rest of the stream cannot be parsed."""


class FrameBuffer:
    """Assembles received bytes into frames.

    Attributes:
        max_body: Maximum bytes of a body.
    """

    def __init__(self) -> None:
        self.max_body = MAX_BODY_BYTES
        self._bytes = bytearray(MIN_BUFFER_BYTES)
        self._filled = 0

    def space(self) -> memoryview:
        """Where to put the next bytes; never empty."""
        return memoryview(self._bytes)[self._filled :]

    def frames(self, received: int) -> Iterator[tuple[Kind, int, memoryview]]:
        """Yields the frames that `received` more bytes complete; iterate to the end at once.

        Yields:
            Kind, number of the call, and a view of the body, valid until the next frame.

        Raises:
            BrokenFrame: A kind is unknown, or a body is too long.
        """
        self._filled += received
        begin, needed = 0, _HEADER.size
        with memoryview(self._bytes) as view:
            while self._filled - begin >= _HEADER.size:
                length, kind, call = _HEADER.unpack_from(view, begin)
                if kind not in _KINDS or length > self.max_body:
                    raise BrokenFrame
                needed = _HEADER.size + length
                if self._filled - begin < needed:
                    break
                with view[begin + _HEADER.size : begin + needed] as body:
                    yield _KINDS[kind], call, body
                begin += needed
                needed = _HEADER.size
        self._keep(begin, needed)

    def _keep(self, begin: int, needed: int) -> None:
        """Moves the remaining bytes to the front of a buffer with room for the next frame."""
        rest = self._filled - begin
        size = max(min(len(self._bytes), KEPT_BUFFER_BYTES), needed)
        if size != len(self._bytes):
            larger = bytearray(size)
            larger[:rest] = self._bytes[begin : self._filled]
            self._bytes = larger
        elif begin and rest:
            self._bytes[:rest] = self._bytes[begin : self._filled]
        self._filled = rest


class FrameProtocol(asyncio.BufferedProtocol):
    """One end of a connection; subclasses handle the frames."""

    def __init__(self) -> None:
        self._received = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @abstractmethod
    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        """Handles a frame; the body is valid until this returns. May raise `BrokenFrame`."""

    @abstractmethod
    def ended(self) -> None:
        """Handles the end of the connection, whichever side ended it; called once."""

    async def send(self, kind: Kind, call: int, body: bytes = b"") -> None:
        """Sends a frame; waits first while too many bytes are unsent.

        Raises:
            ConnectionError: The connection has ended.
        """
        while not self._writable.is_set():
            await self._writable.wait()
        self.send_now(kind, call, body)

    def send_now(self, kind: Kind, call: int, body: bytes = b"") -> None:
        """Sends a short frame without waiting; otherwise as `send`."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError
        # Not `writelines`: with it, asyncio before 3.12.9 and 3.13.2 never calls `pause_writing`.
        self._transport.write(_HEADER.pack(len(body), kind, call))
        self._transport.write(body)

    def close(self) -> None:
        """Closes the connection once everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's interface
        """The buffer that the event loop receives into."""
        return self._received.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the event loop after it received `nbytes`."""
        try:
            for kind, call, body in self._received.frames(nbytes):
                self.frame_received(kind, call, body)
        except BrokenFrame:
            self.abort()

    def pause_writing(self) -> None:
        """Called by the event loop when too many bytes are unsent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop when they have been sent."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's interface
        """Called by the event loop when the connection has ended."""
        self._transport = None
        self._writable.set()
        self.ended()
