"""The outermost layer: pure ASGI, around every route.

It takes a slash off the end of each request's path, gives the request its id, holds its body to the
limits while it is read, adds the headers that every response carries, and accounts for the request
when it ends, however it ends.
"""

from __future__ import annotations

import logging
from contextlib import closing

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline.config import Settings
from silkline.errors import HeadersTooLarge, SilklineError
from silkline.gateway.cors import Cors, Pairs
from silkline.gateway.disconnect import CLIENT_LEFT_STATUS
from silkline.gateway.failures import error_response, reported
from silkline.gateway.request_body import BodyBudget, RequestBody
from silkline.gateway.request_record import new_record
from silkline.observe.metrics import Metrics
from silkline.service.lifecycle import Lifecycle
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.access")

_MAX_HEADERS = 128
_MAX_HEADER_BYTES = 32 * 1024


class RequestLayer:
    """Wraps the application; see the module."""

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, lifecycle: Lifecycle
    ) -> None:
        self._app = app
        self._bodies = BodyBudget(settings)
        self._cors = Cors(settings.auth.cors_origins)
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; other kinds of ASGI messages pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _strip_slash(scope)
        record = new_record(scope)
        outgoing = _Outgoing(send, record, self._cors.response_headers(dict(scope["headers"])))
        encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
        body = RequestBody(receive, self._bodies, b",".join(encodings).decode("latin-1"))
        with self._lifecycle.request(), closing(body) as incoming:
            try:
                _check_head(scope, incoming)
                await self._app(scope, incoming, outgoing)
            except SilklineError as error:
                await error_response(reported(error, record))(scope, receive, outgoing)
            except Exception as defect:
                # Starlette raises what `render_error` has answered and logged all the same.
                if record.error is None:
                    response = error_response(reported(defect, record))
                    if outgoing.status != CLIENT_LEFT_STATUS:
                        raise  # too late to answer
                    await response(scope, receive, outgoing)
            finally:
                self._account(scope, record, outgoing.status)

    def _account(self, scope: Scope, record: RequestRecord, status: int) -> None:
        seconds = record.elapsed()
        route = _route(scope)
        self._metrics.request_ended(route, status, record.cache, record.model, seconds)
        if record.error is not None:
            self._metrics.failed(route, record.error)
        if record.ignored:
            self._metrics.fields_ignored(len(record.ignored))
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


def _strip_slash(scope: Scope) -> None:
    """Makes a path with a slash at its end the path without it, for the gate and all routes.

    A redirect would go to whatever Host the client names.
    """
    if scope["path"] != "/" and scope["raw_path"].endswith(b"/"):
        scope["path"] = scope["path"].removesuffix("/")
        scope["raw_path"] = scope["raw_path"].removesuffix(b"/")


def _check_head(scope: Scope, incoming: RequestBody) -> None:
    """Refuses by what the head of a request alone says."""
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            f"The request has {len(headers)} headers of {size} bytes; at most {_MAX_HEADERS} "
            f"of {_MAX_HEADER_BYTES} bytes are taken."
        )
    for name, value in headers:
        if name == b"content-length":
            incoming.announce(int(value))


def _route(scope: Scope) -> str:
    """The pattern of the route that matched, so that there are few labels."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    return "console" if "endpoint" in scope else "unmatched"


class _Outgoing:
    """The send side of a request: remembers the status and adds the headers of every response."""

    def __init__(self, send: Send, record: RequestRecord, cors: Pairs) -> None:
        self._send = send
        self._record = record
        self._cors = cors
        self.status = CLIENT_LEFT_STATUS

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self._record.id.encode()),
                (b"x-content-type-options", b"nosniff"),
                *self._cors,
            ]
        await self._send(message)
