"""Frames: how calls share the socket between gateway and worker.

A frame is a header of nine bytes (length of the body, kind, number of the call) and the body. The
gateway numbers its calls; the worker answers each with frames of the same number, in order, the
last of which is `LAST` or `ERROR`. A call that the gateway gives up it cancels, and ignores what
still comes. When the connection ends, so do all its calls, on both sides.
"""

from __future__ import annotations

import asyncio
import struct
from abc import abstractmethod
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, cast

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""Most bytes of a body; sixteen pictures of the default pixel budget are 50 MB."""

MIN_BUFFER_BYTES: Final = 64 * 1024
KEPT_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Room to receive in: at first, and at most for long; more only while a frame needs more."""

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes that wait to be sent before writers have to wait, should the other side not read."""

_HEADER: Final = struct.Struct("<IBI")


class Kind(IntEnum):
    """What a frame is."""

    INFO = 1
    """Asks what the engine is."""
    HEALTH = 2
    """Asks how it gets on."""
    GENERATE = 3
    """A request that is answered by a stream of `PIECE` and one `LAST`."""
    ANSWER = 4
    """A request that is answered by `LAST` alone."""
    CANCEL = 5
    """The call is not of interest any more."""
    CHUNK = 6
    """A part of the answer; more follow."""
    LAST = 7
    """The rest of the answer, or all of it."""
    ERROR = 8
    """Why there is no answer, or no more of it."""


_KINDS: Final = {kind.value: kind for kind in Kind}


class BrokenFrame(Exception):
    """What came is no frame; nothing after it can be understood."""


class FrameBuffer:
    """Takes bytes as they come, gives frames."""

    def __init__(self) -> None:
        self._bytes = bytearray(MIN_BUFFER_BYTES)
        self._filled = 0

    def space(self) -> memoryview:
        """Where to put the next bytes; never empty."""
        return memoryview(self._bytes)[self._filled :]

    def frames(self, received: int) -> Iterator[tuple[Kind, int, memoryview]]:
        """The frames that are whole after so many more bytes, to be read to the end at once.

        Yields:
            Kind, number of the call, and a view of the body that is good until the next frame.

        Raises:
            BrokenFrame: A kind is unknown, or a body too long.
        """
        self._filled += received
        begin, needed = 0, _HEADER.size
        with memoryview(self._bytes) as view:
            while self._filled - begin >= _HEADER.size:
                length, kind, call = _HEADER.unpack_from(view, begin)
                if kind not in _KINDS or length > MAX_BODY_BYTES:
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
        """Moves what is left to the front of a buffer that has room for the next frame."""
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
    """One end of a connection."""

    def __init__(self) -> None:
        self._received = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @abstractmethod
    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        """Takes a frame; the body is good until this returns. May raise `BrokenFrame`."""

    @abstractmethod
    def ended(self) -> None:
        """The connection has ended, whoever ended it; comes once."""

    async def send(self, kind: Kind, call: int, body: bytes = b"") -> None:
        """Sends a frame, when the other side has read enough of those before.

        Raises:
            ConnectionError: The connection has ended.
        """
        while not self._writable.is_set():
            await self._writable.wait()
        self.send_now(kind, call, body)

    def send_now(self, kind: Kind, call: int, body: bytes = b"") -> None:
        """Sends a short frame, that need not wait; otherwise as `send`."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError
        # Not `writelines`: with that, asyncio before 3.12.9 and 3.13.2 never said to wait.
        self._transport.write(_HEADER.pack(len(body), kind, call))
        self._transport.write(body)

    def close(self) -> None:
        """Ends the connection once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop's word that there is a connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's interface
        """Where the event loop puts what it receives."""
        return self._received.space()

    def buffer_updated(self, nbytes: int) -> None:
        """The event loop's word that it received so much."""
        try:
            for kind, call, body in self._received.frames(nbytes):
                self.frame_received(kind, call, body)
        except BrokenFrame:
            self.abort()

    def pause_writing(self) -> None:
        """The event loop's word that too much is unsent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The event loop's word that it was sent."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's interface
        """The event loop's word that the connection has ended."""
        self._transport = None
        self._writable.set()
        self.ended()
