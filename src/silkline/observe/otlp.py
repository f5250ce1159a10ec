"""Spans by OpenTelemetry's SDK: its batching, its OTLP exporter and its data model."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from silkline.observe.spans import Span, nanoseconds

_PATH = "/v1/traces"
_SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
_EXPORT_SECONDS = 10.0
_CLOSE_SECONDS = 3.0
_MAX_SPANS = 4096
_FLAGS = TraceFlags(TraceFlags.SAMPLED)


class OtlpExporter:
    """Sends spans to a collector, in batches and in a thread of its own."""

    def __init__(self, url: str, version: str) -> None:
        """Takes the collector's URL and Silkline's version; connects at the first spans."""
        endpoint = url if url.endswith(_PATH) else url + _PATH
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_SECONDS),
            max_queue_size=_MAX_SPANS,
            schedule_delay_millis=1000,
        )
        self._resource = Resource.create(
            {
                "service.name": "silkline",
                "service.version": version,
                "host.name": socket.gethostname(),
            }
        )
        self._scope = InstrumentationScope("silkline", version, _SCHEMA)

    def export(self, trace_id: str, spans: Sequence[Span], *, remote_parent: bool) -> None:
        """See `SpanExporter`."""
        trace = int(trace_id, 16)
        for index, span in enumerate(spans):
            is_remote = remote_parent and index == 0
            self._processor.on_end(self._readable(trace, span, is_remote=is_remote))

    def close(self) -> None:
        """See `SpanExporter`."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    def _readable(self, trace_id: int, span: Span, *, is_remote: bool) -> ReadableSpan:
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), is_remote, _FLAGS)
        start = nanoseconds(span.start)
        return ReadableSpan(
            span.name,
            SpanContext(trace_id, int(span.id, 16), False, _FLAGS),  # noqa: FBT003 - not remote
            parent,
            self._resource,
            span.attributes,
            kind=SpanKind.SERVER if span.is_server else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=start,
            end_time=start + nanoseconds(span.seconds),
            instrumentation_scope=self._scope,
        )
