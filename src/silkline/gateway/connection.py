"""One client's connection: uvicorn's, with the bounds that uvicorn does not have.

uvicorn waits for ever for a request's first byte, for the rest of its head and for a reader that
has stopped, and takes as many connections and bytes of a head as come. Here each of these has an
end. Deadlines are looked at by one sweep over all connections, so that a request sets no timers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections import deque
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
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
from silkline.gateway.failures import error_body
from silkline.service.lifecycle import Lifecycle

logger = logging.getLogger("silkline.access")

SWEEP_SECONDS = 0.5
"""How late a deadline may be noticed."""

_MAX_HEAD_BYTES = 64 * 1024
_MAX_BARE_BYTES = 512 * 1024
"""What may come of a body without a byte of content: chunk extensions and trailers."""
_FREE_CHUNKS = 1024
_MIN_CHUNK = 64
"""Bytes that the pieces of a body have on average, after the first ones; each costs time."""
_LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it can read why."""
_LAST_HEAD_SECONDS = 1.0
_MAX_REFUSED = 64
"""Connections that are told why they are refused at the same time; more are cut."""


class Connections:
    """What all connections of a server share.

    Attributes:
        settings: Their deadlines.
        lifecycle: Whether they are about to close; told of those that are turned away.
        most: How many there may be.
        waiting: Those whose next request has not come whole, longest first.
        ending: How many have been told to go, and have not yet gone.
    """

    def __init__(self, settings: ServerSettings, lifecycle: Lifecycle) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.maximum = settings.max_connections
        self.waiting: dict[Connection, None] = {}
        self.ending = 0

    async def sweep(self, connections: set[Connection]) -> None:
        """Looks at the deadlines of the connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in tuple(connections):
                try:
                    connection.look(now)
                except Exception:  # the deadlines of all others hold nevertheless
                    logger.exception("a connection's deadlines could not be looked at")


class _SentAhead(Exception):
    """A request was sent before the one ahead of it was answered."""


class _Parser(httptools.HttpRequestParser):
    """Reads a request that asks for an upgrade as if it did not ask.

    llhttp takes such a request to have no body, and what follows it to be of another protocol. A
    server may ignore the wish (https://www.rfc-editor.org/rfc/rfc9110#section-7.8), and then the
    body has to be read: Java's HttpClient asks for `h2c` with every first request.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Parses what came, where need be a second time without the wish."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            (offset,) = upgrade.args
            fresh = self._connection.parser = _Parser(self._connection)
            fresh.feed_data(self._connection.head_without_upgrade() + data[offset:])


class _Unframed(RequestResponseCycle):
    """Answers a client of HTTP/1.0, which knows no chunks: an answer ends with the connection.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    async def send(self, message: Any) -> None:
        """Sends a part of the answer as it is; uvicorn's count of its bytes is left out."""
        self.chunked_encoding = False
        self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class _Awaited(RequestResponseCycle):
    """Answers a client that sends its body when it is asked to: who was not will not send it.

    What it sends next would pass for the body, if the connection stayed.
    https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """

    async def send(self, message: Any) -> None:
        """Sends a part of the answer, which is the last one if the body was not asked for."""
        if self.waiting_for_100_continue and self.more_body and not self.body:
            self.keep_alive = False
        await super().send(message)


class Connection(HttpToolsProtocol):
    """See the module."""

    def __init__(self, *args: Any, shared: Connections, **named: Any) -> None:
        """Takes what uvicorn gives, and what the connections share."""
        super().__init__(*args, **named)
        self.parser = _Parser(self)
        self._shared = shared
        self._plain_head: bytes | None = None
        self._in_head = False
        self._in_body = False
        self._is_answering = False
        self._had_request = False
        self._deaf = False
        self._ending = False
        self._head_due = math.inf
        self._close_due = math.inf
        self._stuck_since = math.inf
        self._head_bytes = 0
        self._bare_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self._fault: SilklineError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection; where there are too many, one that waits has to go."""
        super().connection_made(transport)
        self._head_due = self.loop.time() + self._shared.settings.head_timeout
        waiting = self._shared.waiting
        if len(self.connections) - self._shared.ending > self._shared.maximum:
            longest = next(iter(waiting), None)
            if longest is None:
                self._refuse(Overloaded("There are too many connections; try again later."))
                return
            longest.give_way()
        waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._shared.waiting.pop(self, None)
        self._shared.ending -= self._ending
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came, and starts the clock of a head that is not whole."""
        if self._deaf:
            return
        was_in_body = self._in_body
        self._head_bytes += len(data)
        self._bare_bytes += len(data)
        super().data_received(data)
        if self._listens_no_more():
            return
        if self._in_body:
            if self._bare_bytes > _MAX_BARE_BYTES:
                self._refuse(InvalidRequest("The body has too little content in its chunks."))
        elif self._in_head or not (self._is_answering or was_in_body):
            if self._head_due == math.inf:
                self._head_due = self.loop.time() + self._shared.settings.head_timeout
            if self._in_head and self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(HeadersTooLarge("The head is too long. Send fewer headers."))

    def on_message_begin(self) -> None:
        """Parser: the first byte of a request."""
        self._in_head = True
        self._head_bytes = 0  # of the pieces that come after this one
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Parser: a head is whole; the request begins.

        One that was sent ahead of the answer before it is not taken: its client has to send it
        again (https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2).
        """
        if self._is_answering:
            raise _SentAhead
        if self.parser.should_upgrade():
            self._leave_out_upgrade()
            return
        self._in_head = False
        self._in_body = True
        self._head_due = math.inf
        self._bare_bytes = self._chunks = self._body_bytes = 0
        self._shared.waiting.pop(self, None)
        self._shared.waiting[self] = None
        super().on_headers_complete()
        self._is_answering = self._had_request = True
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = _Unframed
        elif self.cycle.waiting_for_100_continue:
            self.cycle.__class__ = _Awaited
        # What comes as headers from here on are trailers: nobody asked for them.
        self.headers = deque(maxlen=0)  # type: ignore[assignment]
        if self._shared.lifecycle.leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Parser: a piece of a body."""
        self._bare_bytes = 0
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > _FREE_CHUNKS and self._body_bytes < self._chunks * _MIN_CHUNK:
            self._fault = InvalidRequest("The body comes in too small pieces. Send larger ones.")
            raise self._fault
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Parser: a request is whole, unless only its head was read to leave out an upgrade."""
        if self._plain_head is not None:
            return
        self._in_body = False
        self._close_due = math.inf
        self._shared.waiting.pop(self, None)
        super().on_message_complete()

    def head_without_upgrade(self) -> bytes:
        """The head that asked for an upgrade, as it is without; it can be taken once."""
        head, self._plain_head = self._plain_head or b"", None
        return head

    def on_response_complete(self) -> None:
        """An answer is written; a body that still comes has little time."""
        self._is_answering = False
        super().on_response_complete()
        if self._in_body:
            self._close_due = self.loop.time() + _LINGER_SECONDS
        elif not self.transport.is_closing():
            self._shared.waiting[self] = None

    def look(self, now: float) -> None:
        """Ends the connection when one of its deadlines is over."""
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
            self._late_head()

    def give_way(self) -> None:
        """Ends the connection for a newer one; it has no whole request open."""
        if self._in_body:
            self._refuse(Overloaded("There are too many connections; send the request again."))
            return
        self._end("gave_way")
        self.transport.close()

    def last_answer(self) -> None:
        """From now on an answer that has not begun says that it is the last one."""
        if self._is_answering and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Ends the connection after what is open; a request that is on its way may still come."""
        if self._is_answering or (self._had_request and not self._in_head):
            super().shutdown()
        else:
            self._head_due = min(self._head_due, self.loop.time() + _LAST_HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or one of the callbacks above refused it."""
        del msg
        if self._is_answering and not self._in_body:
            self._deaf = True
            self.cycle.keep_alive = False
            return
        fault, self._fault = self._fault, None
        self._refuse(fault or InvalidRequest("This is not a request in HTTP/1.1."))

    def _leave_out_upgrade(self) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":  # an upgrade of another kind: what follows is no body
            self._fault = InvalidRequest("There are no tunnels here. Send the request itself.")
            raise self._fault
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self._plain_head = b"\r\n".join(lines) + b"\r\n\r\n"

    def _listens_no_more(self) -> bool:
        # A call, because mypy believes an attribute that was tested before to be unchanged by the
        # calls in between, and takes what follows a second test of it for unreachable.
        return self._deaf

    def _late_head(self) -> None:
        if not self._in_head:
            self.transport.close()  # nothing was asked
            return
        seconds = self._shared.settings.head_timeout
        self._refuse(RequestTimeout(f"The request's head did not come whole within {seconds:g} s."))

    def _end(self, reason: str) -> None:
        self._shared.lifecycle.turned_away(reason)
        self._shared.waiting.pop(self, None)
        self._shared.ending += not self._ending
        self._ending = True

    def _refuse(self, error: SilklineError) -> None:
        """Answers with an error, listens no more and closes; an answer that has begun is cut."""
        self._end(http_face(error).code)
        self._deaf = True
        begun = False
        if self._is_answering:
            begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if begun or self._shared.ending > _MAX_REFUSED:
            self.transport.abort()
            return
        request_id = uuid.uuid4().hex
        face = http_face(error)
        fields = {"http.request.id": request_id, "http.response.status_code": face.status}
        logger.info("refused", extra={"ecs": {**fields, "error.code": face.code}})
        self.transport.write(_bare_response(error, request_id))
        # Closing at once would make the kernel take back what the client has not read.
        self.transport.write_eof()
        self._close_due = self.loop.time() + _LINGER_SECONDS


def _bare_response(error: SilklineError, request_id: str) -> bytes:
    body = msgspec.json.encode(error_body(error))
    retry = f"retry-after: {error.retry_after}\r\n" if isinstance(error, Overloaded) else ""
    head = (
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{retry}"
        f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return STATUS_LINE[http_face(error).status] + head.encode() + body
