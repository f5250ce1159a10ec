"""The outermost layer: pure ASGI, around every route.

It gives each request its id, holds its body to the limits while it is read, adds the headers that
every response carries, and accounts for the request when it ends, however it ends.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline.config import Settings
from silkline.errors import RequestTimeout, RequestTooLarge
from silkline.gateway.disconnect import CLIENT_LEFT_STATUS
from silkline.gateway.failures import error_response
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.scope import RequestRecord, new_record
from silkline.observe.metrics import Metrics

logger = logging.getLogger("silkline.access")


class RequestLayer:
    """Wraps the application; see the module."""

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, lifecycle: Lifecycle
    ) -> None:
        self._app = app
        self._max_body_bytes = settings.limits.max_body_bytes
        self._timeout = settings.server.request_timeout
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; other kinds of ASGI messages pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = new_record(scope)
        outgoing = _Outgoing(send, record)
        with self._lifecycle.request():
            try:
                if self._declares_too_much(scope):
                    too_large = error_response(self._too_large())
                    record.error = "request_too_large"
                    await too_large(scope, receive, outgoing)
                else:
                    await self._app(scope, self._limited(receive), outgoing)
            finally:
                self._account(scope, record, outgoing.status)

    def _declares_too_much(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"content-length":
                return int(value) > self._max_body_bytes
        return False

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The body is longer than {self._max_body_bytes} bytes. Send less, or send the "
            "picture's URL."
        )

    def _limited(self, receive: Receive) -> Receive:
        """Counts the body's bytes, and the time it takes to come, as it is read."""
        received = 0
        complete = False
        deadline = asyncio.get_running_loop().time() + self._timeout

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeout(
                    f"The body did not come whole within {self._timeout:g} s. Send it again."
                ) from None
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise self._too_large()
            complete = not message.get("more_body", False)
            return message

        return limited

    def _account(self, scope: Scope, record: RequestRecord, status: int) -> None:
        seconds = record.elapsed()
        route = getattr(scope.get("route"), "path", "") or "unmatched"  # the pattern: few labels
        self._metrics.request_ended(route, status, record.cache, record.model, seconds)
        fields = {
            "http.request.id": record.id,
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "http.response.status_code": status,
            "event.duration": round(seconds * 1e9),
            "silkline.cache": record.cache,
            "silkline.model": record.model,
        }
        if record.error is not None:
            fields["error.code"] = record.error
        logger.info("request", extra={"ecs": fields})


class _Outgoing:
    """The send side of a request: remembers the status and adds the headers of every response."""

    def __init__(self, send: Send, record: RequestRecord) -> None:
        self._send = send
        self._record = record
        self.status = CLIENT_LEFT_STATUS

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self._record.id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)
