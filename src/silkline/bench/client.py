"""A fast HTTP/1.1 client: keep-alive connections with one exchange at a time.

A request takes 11 microseconds of CPU time, 62 with aiohttp; 16 and 68 with bodies of 67 KB
(docs/bench.md). On one machine, the client's CPU time is lost to the server under test.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

import httptools

_IDLE_SECONDS = 15.0
"""Connections idle for longer are not reused: the server may be closing them."""

_WRITE_BUFFER = 1 << 20


class Response:
    """An HTTP response, with the times at which it arrived.

    Attributes:
        status: HTTP status; 0 until it is received.
        headers: Values by lower-case name; the last value if a name repeats.
        chunks: The body's chunks, each with its monotonic time of arrival in seconds.
        sent: Monotonic second at which the request was written to the socket.
        first_byte: Monotonic second of the first byte; 0 until it arrives.
        received: Bytes received, including headers and framing.
    """

    __slots__ = ("chunks", "first_byte", "headers", "received", "sent", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[tuple[float, bytes]] = []
        self.sent = 0.0
        self.first_byte = 0.0
        self.received = 0

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(chunk for _, chunk in self.chunks)


class Connection(asyncio.Protocol):
    """One connection; call `exchange` again only after the last exchange has ended."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._response = Response()
        self._completed: asyncio.Future[None] | None = None
        self._now = 0.0
        self.reusable = True
        """Whether another request may be sent."""
        self.idle_since = 0.0
        """Monotonic second at which the last exchange ended."""

    async def exchange(self, chunks: Sequence[bytes], response: Response) -> None:
        """Sends a request and waits until `response` is complete.

        Raises:
            ConnectionError: The connection closed before that.
            httptools.HttpParserError: The response is not valid HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed before the request was sent")
        self._response = response
        self._parser = httptools.HttpResponseParser(self)
        self._completed = asyncio.get_running_loop().create_future()
        response.sent = time.monotonic()
        self._transport.writelines(chunks)
        await self._completed

    def close(self) -> None:
        """Aborts the connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._now = time.monotonic()
        response = self._response
        response.first_byte = response.first_byte or self._now
        response.received += len(data)
        if self._parser is None:  # data without a request
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        del exc
        self.reusable = False
        self._fail(ConnectionResetError("closed before the response was complete"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._response.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._parser is not None:
            self._response.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._response.chunks.append((self._now, body))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._parser is not None and not self._parser.should_keep_alive():
            self.reusable = False
        self.idle_since = self._now
        self._parser = None
        if self._completed is not None and not self._completed.done():
            self._completed.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._completed is not None and not self._completed.done():
            self._completed.set_exception(error)


class HttpClient:
    """A connection pool for one target; reuses the most recently used connection first."""

    def __init__(self, url: str, maximum: int) -> None:
        """Creates the pool; connections open on demand.

        Args:
            url: The target; only scheme, host and port are used.
            maximum: Maximum number of open connections.
        """
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._slots = asyncio.Semaphore(maximum)
        self._idle: list[Connection] = []
        self.opened = 0
        """Number of connections opened so far."""

    @property
    def full(self) -> bool:
        """Whether the next request must wait for a connection."""
        return self._slots.locked()

    async def exchange(self, chunks: Sequence[bytes], response: Response) -> None:
        """Sends a request over an idle connection or a new one; see `Connection.exchange`.

        Raises:
            OSError: The target cannot be reached, or closed the connection
                (`ConnectionResetError`).
            httptools.HttpParserError: The response is not valid HTTP.
        """
        async with self._slots:
            connection = self._take() or await self._open()
            try:
                await connection.exchange(chunks, response)
            finally:
                if response.first_byte and connection.reusable and connection.idle_since:
                    self._idle.append(connection)
                else:
                    connection.close()

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and now - connection.idle_since < _IDLE_SECONDS:
                connection.idle_since = 0.0
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, self._host, self._port, ssl=self._tls
        )
        return connection
