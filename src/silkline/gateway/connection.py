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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from silkline.config import ServerSettings
from silkline.errors import (
    HeadersTooLarge,
    InvalidRequest,
    Overloaded,
    RequestTimeout,
    SilklineError,
    http_face,
)
from silkline.gateway.disconnect import WATCH, ClientLeft
from silkline.gateway.failures import error_body
from silkline.gateway.lifecycle import Lifecycle

logger = logging.getLogger("silkline.access")

SWEEP_SECONDS = 0.5
"""How late a deadline may be noticed."""

_MAX_HEAD_BYTES = 64 * 1024
_MAX_BARE_BYTES = 512 * 1024
"""What may come of a body without a byte of content: chunk extensions and trailers."""
_MAX_PIPELINED = 16
_FREE_PIECES = 1024
_LEAST_PIECE = 64
"""Bytes that the pieces of a body have on average, after the first ones; each costs time."""
_LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it can read why."""
_LAST_HEAD_SECONDS = 1.0
_MAX_REFUSED = 64
"""Refused connections beyond the bound that are told why; more are cut."""


class Connections:
    """What all connections of a server share.

    Attributes:
        settings: Their deadlines.
        lifecycle: Whether they are about to close; told of those that are turned away.
        most: How many there may be.
        waiting: Those that have no request open, longest first.
    """

    def __init__(self, settings: ServerSettings, lifecycle: Lifecycle) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.most = settings.max_connections
        self.waiting: dict[Connection, None] = {}

    async def sweep(self, connections: set[Connection]) -> None:
        """Looks at the deadlines of the connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in tuple(connections):
                connection.look(now)


class Connection(HttpToolsProtocol):
    """See the module."""

    def __init__(self, *args: Any, shared: Connections, **named: Any) -> None:
        """Takes what uvicorn gives, and what the connections share."""
        super().__init__(*args, **named)
        self._shared = shared
        self._in_head = False
        self._in_body = False
        self._is_answering = False
        self._had_request = False
        self._deaf = False
        self._lost = False
        self._head_due = math.inf
        self._close_due = math.inf
        self._stuck_since = math.inf
        self._head_bytes = 0
        self._bare_bytes = 0
        self._pieces = 0
        self._body_bytes = 0
        self._fault: SilklineError | None = None
        self._on_leave: Callable[[], None] | None = None
        self._extensions: dict[str, Any] = {WATCH: self._watch}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection; where there are too many, one that waits has to go."""
        super().connection_made(transport)
        self._head_due = self.loop.time() + self._shared.settings.head_timeout
        waiting = self._shared.waiting
        excess = len(self.connections) - self._shared.most
        if excess > 0:
            longest = next(iter(waiting), None)
            if longest is None:
                self._turn_away(cut=excess > _MAX_REFUSED)
                return
            longest.give_way()
        waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection, and tells the request that is open."""
        self._lost = True
        self._shared.waiting.pop(self, None)
        super().connection_lost(exc)
        if self._on_leave is not None:
            self._on_leave()

    def data_received(self, data: bytes) -> None:
        """Parses what came, and starts the clock of a head that is not whole."""
        if self._deaf:
            return
        self._bare_bytes += len(data)
        super().data_received(data)
        if self._listens_no_more():
            return
        if self._in_body:
            if self._bare_bytes > _MAX_BARE_BYTES:
                self._refuse(InvalidRequest("The body has too little content in its chunks."))
        elif self._in_head or not self._is_answering:
            if self._head_due == math.inf:
                self._head_due = self.loop.time() + self._shared.settings.head_timeout
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(HeadersTooLarge("The request's head is too long. Send less headers."))

    def on_message_begin(self) -> None:
        """Parser: the first byte of a request."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Parser: a head is whole; the request begins, or waits for those before it."""
        self._in_head = False
        self._in_body = True
        self._head_due = math.inf
        self._head_bytes = self._bare_bytes = self._pieces = self._body_bytes = 0
        self._shared.waiting.pop(self, None)
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._fault = InvalidRequest("Too many requests were sent ahead of their answers.")
            raise self._fault
        self.scope["extensions"] = self._extensions
        self._is_answering = self._had_request = True
        super().on_headers_complete()
        # What comes as headers from here on are trailers: nobody asked for them.
        self.headers = deque(maxlen=0)  # type: ignore[assignment]
        if self._shared.lifecycle.leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Parser: a piece of a body."""
        self._bare_bytes = 0
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > _FREE_PIECES and self._body_bytes < self._pieces * _LEAST_PIECE:
            self._fault = InvalidRequest("The body comes in too small pieces. Send larger ones.")
            raise self._fault
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Parser: a request is whole."""
        self._in_body = False
        self._close_due = math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written; a body that still comes has little time."""
        self._is_answering = bool(self.pipeline)
        super().on_response_complete()
        if self._is_answering:
            return
        if self._in_body:
            self._close_due = self.loop.time() + _LINGER_SECONDS
        if not self.transport.is_closing():
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
        """Ends the connection for a newer one; it has no request open."""
        self._shared.lifecycle.turned_away("gave_way")
        self._shared.waiting.pop(self, None)
        self.connections.discard(self)
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
        fault, self._fault = self._fault, None
        self._refuse(fault or InvalidRequest("This is not a request in HTTP/1.1."))

    def _listens_no_more(self) -> bool:
        return self._deaf

    def _late_head(self) -> None:
        if self._head_bytes == 0:
            self.transport.close()  # nothing was asked
            return
        seconds = self._shared.settings.head_timeout
        self._refuse(RequestTimeout(f"The request's head did not come whole within {seconds:g} s."))

    def _turn_away(self, *, cut: bool) -> None:
        if cut:
            self._shared.lifecycle.turned_away("too_many")
            self.transport.abort()
            return
        self._refuse(Overloaded("There are too many connections; try again later."))

    def _refuse(self, error: SilklineError) -> None:
        """Answers with an error, listens no more and closes; an answer that has begun is cut."""
        self._shared.lifecycle.turned_away(http_face(error).code)
        self._shared.waiting.pop(self, None)
        self._deaf = True
        self.pipeline.clear()
        if self._is_answering:
            begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if begun:
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

    @contextmanager
    def _watch(self, on_leave: Callable[[], None]) -> Iterator[None]:
        """Calls back when the connection is lost, while the block runs."""
        if self._lost:
            raise ClientLeft
        self._on_leave = on_leave
        try:
            yield
        finally:
            self._on_leave = None


def _bare_response(error: SilklineError, request_id: str) -> bytes:
    body = msgspec.json.encode(error_body(error))
    retry = f"retry-after: {error.retry_after}\r\n" if isinstance(error, Overloaded) else ""
    head = (
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{retry}"
        f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return STATUS_LINE[http_face(error).status] + head.encode() + body
