"""The outermost layer: pure ASGI, around every route.

It strips a trailing slash from the path, assigns the request id, limits the body while it is read,
adds the headers that every response has, and when the request ends, in whatever way, records
metrics, a log line, a trace and an entry of the request history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline.config import Settings
from silkline.errors import HeadersTooLarge, SilklineError
from silkline.gateway.cors import Cors, Pairs
from silkline.gateway.disconnect import CLIENT_LEFT_STATUS
from silkline.gateway.failures import error_response, reported
from silkline.gateway.history.entry import entry_of
from silkline.gateway.history.store import HistoryStore
from silkline.gateway.request_body import BodyBudget, RequestBody
from silkline.gateway.request_record import new_record
from silkline.observe.metrics import Metrics
from silkline.service.lifecycle import Lifecycle
from silkline.service.record import RequestRecord
from silkline.service.tracing import Ended, Tracing

logger = logging.getLogger("silkline.access")

OnEnded = Callable[[RequestRecord, float], None]
"""Called with a request that has ended, and its seconds; not if the client is why it failed."""

_MAX_HEADERS = 128
_MAX_HEADER_BYTES = 32 * 1024

FILES = "/v1/files"
"""The path of uploads, whose bodies go to a file and may be larger than others."""

FORM_BYTES = 64 * 1024
"""What the form around a file may add to its bytes."""

_READING = {"GET", "HEAD", "OPTIONS"}
"""Methods of requests that the history leaves out: probes, scrapes and pages."""


class RequestLayer:
    """The outermost ASGI layer of the application; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        lifecycle: Lifecycle,
        history: HistoryStore,
        listeners: Sequence[OnEnded] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._bodies = BodyBudget(settings)
        self._uploads = BodyBudget(settings, settings.batch.batch_file_bytes + FORM_BYTES)
        self._cors = Cors(settings.auth.cors_origins)
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._history = history
        self._listeners = listeners
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; passes other ASGI scopes through unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _strip_slash(scope)
        record = new_record(scope)
        if self._tracing is not None:
            record.trace = self._tracing.begin(scope["headers"])
        outgoing = _Outgoing(send, record, self._cors.response_headers(scope))
        encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
        budget = self._uploads if scope["path"] == FILES else self._bodies
        body = RequestBody(receive, budget, b",".join(encodings).decode("latin-1"))
        with self._lifecycle.request(), closing(body) as incoming:
            try:
                _check_head(scope, incoming)
                await self._app(scope, incoming, outgoing)
            except SilklineError as error:
                response = error_response(reported(error, record), scope)
                await response(scope, receive, outgoing)
            except Exception as defect:
                # Starlette re-raises a defect even after `render_error` has logged and answered it.
                if record.error is None:
                    response = error_response(reported(defect, record), scope)
                    if outgoing.status != CLIENT_LEFT_STATUS:
                        raise  # the response has already started
                    await response(scope, receive, outgoing)
            finally:
                seconds = record.elapsed()
                self._account(scope, record, outgoing.status, seconds)
                if scope["method"] not in _READING:
                    self._keep(scope, record, incoming, outgoing, seconds)

    def _account(self, scope: Scope, record: RequestRecord, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.request_ended(route, status, record.cache, record.model, seconds, record.id)
        if record.is_question:
            self._count_question(record, seconds)
        if record.error is None or record.failed:
            for on_ended in self._listeners:
                on_ended(record, seconds)
        if record.error is not None:
            self._metrics.failed(route, record.error)
        if record.ignored:
            self._metrics.fields_ignored(len(record.ignored))
        self._log(scope, record, status, seconds)
        if self._tracing is not None and record.trace is not None:
            ended = Ended(scope["method"], scope["path"], route, status, seconds)
            self._tracing.ended(record, record.trace, ended)

    def _count_question(self, record: RequestRecord, seconds: float) -> None:
        """Counts a question for the objectives, unless the client is why it failed."""
        if record.error is None:
            self._metrics.objectives.answered(record.model, seconds)
        elif record.failed:
            self._metrics.objectives.failed(record.model)

    def _log(self, scope: Scope, record: RequestRecord, status: int, seconds: float) -> None:
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
        if record.experiment:
            fields |= {"silkline.experiment": record.experiment, "silkline.arm": record.arm}
        if record.trace is not None:
            fields["trace.id"] = record.trace.trace_id
            fields["span.id"] = record.trace.span_id
        logger.info("request", extra={"ecs": fields})

    def _keep(
        self,
        scope: Scope,
        record: RequestRecord,
        incoming: RequestBody,
        outgoing: _Outgoing,
        seconds: float,
    ) -> None:
        """Adds the request to the history."""
        entry = entry_of(
            scope,
            record,
            status=outgoing.status,
            seconds=seconds,
            received_bytes=incoming.received,
            sent_bytes=outgoing.sent,
        )
        self._history.add(entry, record.details)


def _strip_slash(scope: Scope) -> None:
    """Strips a trailing slash from the path, for the gate and all routes.

    A redirect instead would go to any Host that the client sends.
    """
    if scope["path"] != "/" and scope["raw_path"].endswith(b"/"):
        scope["path"] = scope["path"].removesuffix("/")
        scope["raw_path"] = scope["raw_path"].removesuffix(b"/")


def _check_head(scope: Scope, incoming: RequestBody) -> None:
    """Checks the size of the headers and the Content-Length, before the body is read."""
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            f"The request has {len(headers)} headers of {size} bytes in total. Send at most "
            f"{_MAX_HEADERS} headers of {_MAX_HEADER_BYTES} bytes in total."
        )
    for name, value in headers:
        if name == b"content-length":
            incoming.announce(int(value))


def _route(scope: Scope) -> str:
    """The pattern of the matched route, which keeps the number of metric labels small."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    return "console" if "endpoint" in scope else "unmatched"


class _Outgoing:
    """The ASGI send callable: records the status and adds the headers of every response."""

    def __init__(self, send: Send, record: RequestRecord, cors: Pairs) -> None:
        self._send = send
        self._record = record
        self._cors = cors
        self.status = CLIENT_LEFT_STATUS
        self.sent = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self._record.id.encode()),
                (b"x-content-type-options", b"nosniff"),
                *self._cors,
            ]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)
