"""One client's connection: uvicorn's protocol with timeouts and limits that uvicorn lacks.

uvicorn waits forever for a request's first byte, for the rest of its head and for a client that
has stopped reading, and accepts any number of connections and head bytes. Here each of these has a
limit. One periodic sweep over all connections checks the deadlines, so a request needs no timers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections import deque
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)

from silkline.config import ServerSettings
from silkline.errors import (
    HeadersTooLarge,
    InvalidRequest,
    Overloaded,
    RequestTimeout,
    SilklineError,
    http_face,
)
from silkline.gateway.error_bodies import OPENAI
from silkline.gateway.response_cycle import ExpectContinueCycle, HeldHead, Http10Cycle
from silkline.service.lifecycle import Lifecycle

logger = logging.getLogger("silkline.access")

SWEEP_SECONDS = 0.5
"""Interval between two checks of the deadlines: how late a timeout may take effect."""

_MAX_HEAD_BYTES = 64 * 1024
_MAX_FRAMING_BYTES = 512 * 1024
"""Maximum bytes of chunk extensions and trailers received without any byte of content."""
_FREE_CHUNKS = 1024
_MIN_CHUNK = 64
"""Minimum average bytes per chunk after the first `_FREE_CHUNKS`: each chunk costs time."""
_LINGER_SECONDS = 2.0
"""How long a refused client may keep sending, so that it can read the error."""
_LAST_HEAD_SECONDS = 1.0
_MAX_REFUSED = 64
"""Maximum connections that get an error response while closing; further ones are aborted."""
_TOO_MANY_CONNECTIONS = (
    "The server has its maximum number of connections. Retry after the time in Retry-After."
)


class Connections:
    """State shared by all connections of a server.

    Attributes:
        settings: The timeouts.
        lifecycle: Says whether the server is leaving; counts closed connections by reason.
        maximum: Maximum number of connections.
        waiting: Connections whose next request is incomplete, longest wait first.
        ending: Number of connections that are closing but not yet closed.
    """

    def __init__(self, settings: ServerSettings, lifecycle: Lifecycle) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.maximum = settings.max_connections
        self.waiting: dict[Connection, None] = {}
        self.ending = 0

    async def sweep(self, connections: set[Connection]) -> None:
        """Checks the deadlines of the connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in tuple(connections):
                try:
                    connection.check_deadlines(now)
                except Exception:  # the deadlines of the other connections must still hold
                    logger.exception("a connection's deadlines could not be checked")


class _PipelinedRequest(Exception):
    """A request arrived before the previous one was answered."""


class _Parser(httptools.HttpRequestParser):
    """Parses a request with an Upgrade header as if it had none.

    llhttp assumes that such a request has no body and that another protocol follows. A server may
    ignore the upgrade (https://www.rfc-editor.org/rfc/rfc9110#section-7.8), and must then read the
    body: Java's HttpClient asks for `h2c` with every first request.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Parses received data; if it asks for an upgrade, parses it again without that header."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            (offset,) = upgrade.args
            fresh = self._connection.parser = _Parser(self._connection)
            fresh.feed_data(self._connection.head_without_upgrade() + data[offset:])


class Connection(HttpToolsProtocol):
    """A uvicorn HTTP connection with timeouts and limits; see the module."""

    def __init__(self, *args: Any, shared: Connections, **named: Any) -> None:
        """Takes uvicorn's arguments, and the state that all connections share."""
        super().__init__(*args, **named)
        self.parser = _Parser(self)
        self._shared = shared
        self._plain_head: bytes | None = None
        self._in_head = False
        self._in_body = False
        self._is_answering = False
        self._had_request = False
        self._stopped_reading = False
        self._ending = False
        self._head_due = math.inf
        self._close_due = math.inf
        self._stuck_since = math.inf
        self._head_bytes = 0
        self._framing_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self._fault: SilklineError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts the connection; if there are too many, closes the longest-waiting one."""
        super().connection_made(transport)
        self._head_due = self.loop.time() + self._shared.settings.head_timeout
        waiting = self._shared.waiting
        if len(self.connections) - self._shared.ending > self._shared.maximum:
            longest = next(iter(waiting), None)
            if longest is None:
                self._refuse(Overloaded(_TOO_MANY_CONNECTIONS))
                return
            longest.make_room()
        waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Removes the connection from the shared state."""
        self._shared.waiting.pop(self, None)
        self._shared.ending -= self._ending
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses received data; starts the timeout of an incomplete head."""
        if self._stopped_reading:
            return
        was_in_body = self._in_body
        self._head_bytes += len(data)
        self._framing_bytes += len(data)
        super().data_received(data)
        if self._has_stopped_reading():
            return
        if self._in_body:
            if self._framing_bytes > _MAX_FRAMING_BYTES:
                self._refuse(
                    InvalidRequest(
                        f"The body has more than {_MAX_FRAMING_BYTES} bytes of chunk extensions or "
                        "trailers without content. Send chunks without extensions."
                    )
                )
        elif self._in_head or not (self._is_answering or was_in_body):
            if self._head_due == math.inf:
                self._head_due = self.loop.time() + self._shared.settings.head_timeout
            if self._in_head and self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(
                    HeadersTooLarge(
                        "The request line and headers are longer than "
                        f"{_MAX_HEAD_BYTES} bytes. Send fewer or shorter headers."
                    )
                )

    def on_message_begin(self) -> None:
        """Parser callback: the first byte of a request arrived."""
        self._in_head = True
        self._head_bytes = 0  # counts from the next received data on
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete; the request begins.

        Refuses a pipelined request, sent before the previous answer: its client must send it again
        (https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2).
        """
        if self._is_answering:
            raise _PipelinedRequest
        if self.parser.should_upgrade():
            self._remove_upgrade()
            return
        self._in_head = False
        self._in_body = True
        self._head_due = math.inf
        self._framing_bytes = self._chunks = self._body_bytes = 0
        self._shared.waiting.pop(self, None)
        self._shared.waiting[self] = None
        super().on_headers_complete()
        self._is_answering = self._had_request = True
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = Http10Cycle
        elif self.cycle.waiting_for_100_continue:
            self.cycle.__class__ = ExpectContinueCycle
        else:
            self.cycle.transport = cast("asyncio.Transport", HeldHead(self.transport))
        # Headers from here on are trailers, which are ignored.
        self.headers = deque(maxlen=0)  # type: ignore[assignment]
        if self._shared.lifecycle.leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Parser callback: a chunk of the body arrived."""
        self._framing_bytes = 0
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > _FREE_CHUNKS and self._body_bytes < self._chunks * _MIN_CHUNK:
            self._fault = InvalidRequest(
                f"The body's chunks have fewer than {_MIN_CHUNK} bytes on average. Send larger "
                "chunks, or a Content-Length."
            )
            raise self._fault
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Parser callback: the request is complete, or only its head if it asks for an upgrade."""
        if self._plain_head is not None:
            return
        self._in_body = False
        self._close_due = math.inf
        self._shared.waiting.pop(self, None)
        super().on_message_complete()

    def head_without_upgrade(self) -> bytes:
        """Returns the head of a request without its Upgrade header, once."""
        head, self._plain_head = self._plain_head or b"", None
        return head

    def on_response_complete(self) -> None:
        """The response is written; a body that is still arriving gets `_LINGER_SECONDS`."""
        self._is_answering = False
        super().on_response_complete()
        if self._in_body:
            self._close_due = self.loop.time() + _LINGER_SECONDS
        elif not self.transport.is_closing():
            self._shared.waiting[self] = None

    def check_deadlines(self, now: float) -> None:
        """Closes the connection if one of its deadlines has passed."""
        stuck = self.flow.write_paused or (
            not self._is_answering and self.transport.get_write_buffer_size() > 0
        )
        self._stuck_since = min(self._stuck_since, now) if stuck else math.inf
        if now - self._stuck_since >= self._shared.settings.write_timeout:
            self._shared.lifecycle.turned_away("slow_reader")
            self.transport.abort()
        elif now >= self._close_due:
            self.transport.abort()
        elif now >= self._head_due and not self._is_answering:
            self._on_head_timeout()

    def make_room(self) -> None:
        """Closes this connection, which has no complete request open, for a newer one."""
        if self._in_body:
            self._refuse(Overloaded(_TOO_MANY_CONNECTIONS))
            return
        self._end("gave_way")
        self.transport.close()

    def close_after_response(self) -> None:
        """Makes a response that has not started announce `Connection: close`."""
        if self._is_answering and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Closes the connection after the open request; a request being sent may still arrive."""
        if self._is_answering or (self._had_request and not self._in_head):
            super().shutdown()
        else:
            self._head_due = min(self._head_due, self.loop.time() + _LAST_HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answers data that is not HTTP, or that one of the callbacks above refused."""
        del msg
        if self._is_answering and not self._in_body:
            self._stopped_reading = True
            self.cycle.keep_alive = False
            return
        fault, self._fault = self._fault, None
        self._refuse(
            fault or InvalidRequest("This is not a valid HTTP/1.1 request. Send plain HTTP/1.1.")
        )

    def _remove_upgrade(self) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":  # llhttp reports it as an upgrade; tunnel data would follow
            self._fault = InvalidRequest(
                "The method CONNECT is not supported: this server is not a proxy. Send the request "
                "itself."
            )
            raise self._fault
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self._plain_head = b"\r\n".join(lines) + b"\r\n\r\n"

    def _has_stopped_reading(self) -> bool:
        # A call, because mypy assumes that method calls do not change an attribute it has narrowed,
        # and would treat the code after a second test of it as unreachable.
        return self._stopped_reading

    def _on_head_timeout(self) -> None:
        if not self._in_head:
            self.transport.close()  # no request has started
            return
        seconds = self._shared.settings.head_timeout
        self._refuse(
            RequestTimeout(
                f"The request line and headers did not arrive within {seconds:g} s. Send the whole "
                "request without pauses."
            )
        )

    def _end(self, reason: str) -> None:
        self._shared.lifecycle.turned_away(reason)
        self._shared.waiting.pop(self, None)
        self._shared.ending += not self._ending
        self._ending = True

    def _refuse(self, error: SilklineError) -> None:
        """Sends an error, stops reading and closes; aborts a response that has started."""
        self._end(http_face(error).code)
        self._stopped_reading = True
        started = False
        if self._is_answering:
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if started or self._shared.ending > _MAX_REFUSED:
            self.transport.abort()
            return
        request_id = uuid.uuid4().hex
        face = http_face(error)
        fields = {"http.request.id": request_id, "http.response.status_code": face.status}
        logger.info("refused", extra={"ecs": {**fields, "error.code": face.code}})
        self.transport.write(_bare_response(error, request_id))
        # Closing at once would make the kernel discard what the client has not read yet.
        self.transport.write_eof()
        self._close_due = self.loop.time() + _LINGER_SECONDS


def _bare_response(error: SilklineError, request_id: str) -> bytes:
    body = msgspec.json.encode(OPENAI.of(error, request_id))
    retry = f"retry-after: {error.retry_after}\r\n" if isinstance(error, Overloaded) else ""
    head = (
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{retry}"
        f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return STATUS_LINE[http_face(error).status] + head.encode() + body
