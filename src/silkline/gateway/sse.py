"""Responses that outlive a client's patience: event streams, and giving up when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from silkline.errors import SilklineError, http_face
from silkline.gateway.failures import error_body, error_response
from silkline.gateway.scope import RequestRecord

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"


class ClientLeft(Exception):
    """The client closed the connection before its answer was whole; nobody reads a response."""


def event(data: object) -> bytes:
    """One event with a JSON payload.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, but cancels it as soon as the client closes the connection.

    The request's body must have been read whole.

    Raises:
        ClientLeft: The client went first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
            self._record.error = "client_left"

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        async with aclosing(self._events) as events:
            try:
                async for data in events:
                    if not started:
                        started = True
                        await send(self._start())
                    await _send_body(send, data, more=True)
            except SilklineError as error:
                self._record.error = http_face(error).code
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
