"""A connection to a remote server: HTTP/1.1, one exchange at a time, its answer read in chunks.

httptools parses, as in the gateway's own server. A client library for all of HTTP costs several
times the processor time of this, and its time counts for every request.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools

_MAX_OVERHEAD_BYTES = 128 * 1024
"""Maximum bytes of head, chunk framing or trailers without a byte of body."""

_MAX_UNREAD_BYTES = 128 * 1024
"""From this many unread bytes of body on, the server is made to wait."""

_FINAL = 200


class Connection(asyncio.Protocol):
    """One connection.

    Attributes:
        status: The status of the answer; 0 until its head has come.
        headers: Its headers by their lower-case names.
        complete: Whether it has come completely.
        idle_since: When the last exchange ended, by the event loop's clock.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._fault: OSError | None = None
        self._received: list[bytes] = []
        self._unread = 0
        self._overhead = 0
        self._paused = False
        self._keeps = True
        self._head: dict[str, str] = {}
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = True
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self.complete and self._keeps and self._fault is None and not self._unsent

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The server's TLS certificate; None without TLS."""
        return None if self._transport is None else self._transport.get_extra_info("peercert")

    async def send(self, *data: bytes) -> None:
        """Sends a request and waits for the head of its answer.

        Raises:
            OSError: The connection was closed, or what came is not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.status, self.headers, self.complete, self._keeps = 0, {}, False, True
        self._overhead = 0
        self.read_nowait()  # what the caller left of the last answer
        self._parser = httptools.HttpResponseParser(self)
        self._transport.writelines(data)
        while not self.status:
            await self._change()

    async def read(self) -> bytes:
        """What has come of the body since the last call, else the next chunk; empty at the end.

        Raises:
            OSError: The connection was closed before the end, or what came is not HTTP.
        """
        while not self._received:
            if self.complete:
                return b""
            await self._change()
        return self.read_nowait()

    def read_nowait(self) -> bytes:
        """What has come of the body since the last call; may be empty."""
        received, self._received, self._unread = self._received, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return received[0] if len(received) == 1 else b"".join(received)

    def close(self) -> None:
        """Closes the connection at once."""
        self._fail(ConnectionAbortedError("the connection was closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self.complete:
            self._fail(ConnectionAbortedError("the server sent what was not requested"))
            return
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            fault = ConnectionAbortedError("the server's answer is not HTTP")
            fault.__cause__ = error
            self._fail(fault)
        if self._overhead > _MAX_OVERHEAD_BYTES:
            self._fail(ConnectionAbortedError("the server's answer has too many headers"))
        if self._unread > _MAX_UNREAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if exc is None and self.status and self._ends_with_connection:
            self.complete, self._keeps = True, False
        self._fail(ConnectionResetError("the server closed the connection"))

    def on_message_begin(self) -> None:
        """Called by the parser; a second message was not requested."""
        self._head = {}
        self._keeps = self._keeps and not self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; trailers are ignored."""
        if not self.status:
            self._head[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status >= _FINAL and not self.status:
            self.status, self.headers = status, self._head

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self.complete:
            return
        self._overhead = 0
        self._received.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        """Called by the parser, also for an interim answer such as 100."""
        if self.status and not self.complete:
            self.complete = True
            self._keeps = self._parser.should_keep_alive()

    @property
    def _unsent(self) -> bool:
        """Whether a part of the last request was not sent: the server answered before its end."""
        return self._transport is None or self._transport.get_write_buffer_size() > 0

    @property
    def _ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        chunked = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        return not chunked and "content-length" not in self.headers

    def _fail(self, fault: OSError) -> None:
        self._fault = self._fault or fault
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _change(self) -> None:
        """Waits until something has come; raises the error that ended the connection."""
        if self._fault is not None:
            raise self._fault
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
