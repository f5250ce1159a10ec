"""Event streams: the response whose end is not known when it begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from silkline.gateway.disconnect import CLIENT_LEFT, ClientLeft, unless_client_leaves
from silkline.gateway.failures import error_body, error_response, reported
from silkline.gateway.scope import RequestRecord

DONE = b"data: [DONE]\n\n"


def event(data: object) -> bytes:
    """One event with a JSON payload.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


class EventStream(Response):
    """Sends the events of a generator; closes it when the client leaves.

    The response starts with the first event, so that an error before it is a plain error response.
    A later one becomes an `error` event, and `[DONE]` is not sent.
    """

    def __init__(
        self, events: AsyncGenerator[bytes, None], record: RequestRecord, headers: dict[str, str]
    ) -> None:
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"
        self._events = events
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the stream to its end, or until the client leaves."""
        request = Request(scope, receive)
        try:
            await unless_client_leaves(request, self._run(scope, receive, send))
        except ClientLeft:
            self._record.error = CLIENT_LEFT

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        async with aclosing(self._events) as events:
            try:
                async for data in events:
                    if not started:
                        started = True
                        await send(self._start())
                    await _send_body(send, data, more=True)
            except Exception as exception:  # noqa: BLE001 - reported, and told to the client
                error = reported(exception, self._record)
                if not started:
                    await error_response(error)(scope, receive, send)
                    return
                failure = msgspec.json.encode(error_body(error))
                await _send_body(send, b"event: error\ndata: " + failure + b"\n\n", more=False)
                return
        await _send_body(send, DONE, more=False)

    def _start(self) -> Message:
        return {"type": "http.response.start", "status": 200, "headers": self.raw_headers}


async def _send_body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
