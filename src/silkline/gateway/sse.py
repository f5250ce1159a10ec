"""Server-sent event streams: a response that starts before its end is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from silkline.errors import DeadlineExceeded, SilklineError
from silkline.gateway.disconnect import CLIENT_LEFT, ClientLeft, unless_client_leaves
from silkline.gateway.error_bodies import error_form
from silkline.gateway.failures import error_response, reported
from silkline.service.record import RequestRecord

DONE = b"data: [DONE]\n\n"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_GRACE_SECONDS = 1.0
"""Grace beyond a stream's time, so that the answer's own deadline error is sent first."""

_LATE = (
    "The request's deadline passed before the client had read the whole answer. Read the stream "
    "without pauses, or ask for fewer tokens."
)


def event(data: object, name: str = "") -> bytes:
    """Encodes one event with a JSON payload, and with a name if it is not empty.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


class EventStream(Response):
    """Sends the events of a generator; closes it when the client leaves.

    The response starts with the first event, so an error before it is a plain error response. A
    later error becomes an event, and the stream's usual end is not sent.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        record: RequestRecord,
        evidence: Callable[[], dict[str, str]],
        *,
        seconds: float,
        end: bytes = DONE,
        failed: Callable[[SilklineError], bytes] | None = None,
    ) -> None:
        """Configures the stream.

        Args:
            events: The events, encoded.
            record: The request's record, where an error is noted.
            evidence: Called at the first event; returns headers known by then.
            seconds: Maximum duration of the stream, including a slow reader.
            end: Sent after the last event.
            failed: Encodes the error that ends a started stream; None is an event `error` with the
                error body of the request's path.
        """
        super().__init__(media_type="text/event-stream", headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._record = record
        self._evidence = evidence
        self._seconds = seconds
        self._end = end
        self._failed = failed
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the stream until it ends, the client leaves, or the time is over."""
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(self._seconds + _GRACE_SECONDS):
                await unless_client_leaves(request, self._run(scope, receive, send))
        except ClientLeft:
            self._record.error = CLIENT_LEFT
        except TimeoutError:
            late = reported(DeadlineExceeded(_LATE), self._record)
            if not self._started:
                await error_response(late, scope)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events) as events:
            try:
                async for data in events:
                    if not self._started:
                        await send(self._start())
                    await _send_body(send, data, more=True)
            except Exception as exception:  # noqa: BLE001 - logged, and sent to the client
                error = reported(exception, self._record)
                if not self._started:
                    await error_response(error, scope)(scope, receive, send)
                    return
                await _send_body(send, self._failure(error, scope), more=False)
                return
        await _send_body(send, self._end, more=False)

    def _failure(self, error: SilklineError, scope: Scope) -> bytes:
        if self._failed is not None:
            return self._failed(error)
        return event(error_form(scope).of(error, self._record.id), "error")

    def _start(self) -> Message:
        self._started = True
        self.headers.update(self._evidence())
        return {"type": "http.response.start", "status": 200, "headers": self.raw_headers}


async def _send_body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
