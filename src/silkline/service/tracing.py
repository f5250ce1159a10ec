"""Traces of requests, as spans of the stages that each request has measured anyway.

The spans are built when a request has ended, and only if its trace is kept. Nothing is measured for
them, so stages have their true durations and are laid end to end in their order.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from silkline.config import TraceSettings
from silkline.core import Stage, Usage
from silkline.observe.spans import AttributeValue, Span, SpanExporter, otlp_exporter
from silkline.observe.trace_context import TraceContext, trace_context
from silkline.service.details import Asked
from silkline.service.record import RequestRecord

_PROCESSES = {
    Stage.DECODE: "decoder",
    Stage.RESIZE: "decoder",
    Stage.PREFILL: "worker",
    Stage.GENERATE: "worker",
}
"""The process that a stage runs in; the others run in the gateway."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended.

    Attributes:
        method: Its HTTP method.
        path: Its path.
        route: The pattern of the route that it took.
        status: The HTTP status.
        seconds: Its duration.
    """

    method: str
    path: str
    route: str
    status: int
    seconds: float


@asynccontextmanager
async def closing(tracing: Tracing | None) -> AsyncGenerator[None, None]:
    """Closes the exporter after the block, off the event loop."""
    yield
    if tracing is not None:
        await asyncio.to_thread(tracing.exporter.close)


def create_tracing(settings: TraceSettings) -> Tracing | None:
    """Returns what traces requests; None if traces are off.

    Raises:
        EnvironmentFault: The libraries for traces are not installed.
    """
    if not settings.trace_url:
        return None
    return Tracing(settings, otlp_exporter(settings.trace_url))


class Tracing:
    """Begins the traces of requests, and exports those that are kept."""

    def __init__(self, settings: TraceSettings, exporter: SpanExporter) -> None:
        """Takes the settings, and the exporter, which `closing` closes."""
        self._ratio = settings.trace_ratio
        self._slow = settings.trace_slow
        self.exporter = exporter

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> TraceContext:
        """Begins a request's trace, or continues that in its headers."""
        return trace_context(headers, self._ratio)

    def ended(self, record: RequestRecord, context: TraceContext, ended: Ended) -> None:
        """Exports the trace of a request that has just ended, if it is sampled, slow or failed.

        Requests that failed because of their client are ordinary: anyone can send as many.
        """
        seconds = ended.seconds
        if context.sampled or record.failed or seconds >= self._slow:
            self.exporter.export(
                context.trace_id,
                list(_spans(record, context, ended, seconds)),
                remote_parent=bool(context.parent_id),
            )


def _spans(
    record: RequestRecord, context: TraceContext, ended: Ended, seconds: float
) -> Iterator[Span]:
    """The span of the request, that of the model's work in it, and those of the stages."""
    began = time.time() - seconds
    error = (record.error or "") if record.failed else ""
    yield Span(
        f"{ended.method} {ended.route}",
        context.span_id,
        context.parent_id,
        began,
        seconds,
        is_server=True,
        error=error,
        attributes=_request_attributes(record, ended),
    )
    asked = record.details.asked
    if asked is None:
        return
    yield _stage("receive", context.span_id, began, asked.after_seconds, "gateway")
    operation = Span(
        f"chat {record.model}",
        secrets.token_hex(8),
        context.span_id,
        began + asked.after_seconds,
        seconds - asked.after_seconds,
        error=error,
        attributes=_operation_attributes(record, asked),
    )
    yield operation
    start, left = operation.start, operation.seconds
    for stage in Stage:
        length = min(record.timeline.seconds.get(stage, 0.0), left)
        if length > 0:
            process = _PROCESSES.get(stage, "gateway")
            yield _stage(stage.value, operation.id, start, length, process)
            start, left = start + length, left - length
    yield _stage("respond", operation.id, start, left, "gateway")


def _stage(name: str, parent_id: str, start: float, seconds: float, process: str) -> Span:
    attributes = {"silkline.process": process}
    return Span(name, secrets.token_hex(8), parent_id, start, seconds, attributes=attributes)


def _request_attributes(record: RequestRecord, ended: Ended) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "http.request.method": ended.method,
        "http.route": ended.route,
        "url.path": ended.path,
        "http.response.status_code": ended.status,
        "silkline.request.id": record.id,
    }
    if record.error is not None:
        attributes["error.type"] = record.error
    return attributes


def _usage_attributes(usage: Usage | None) -> dict[str, AttributeValue]:
    """The tokens of an answer; none if no answer ended."""
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.image.input_tokens": usage.image_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }


def _operation_attributes(record: RequestRecord, asked: Asked) -> dict[str, AttributeValue]:
    """The attributes of the OpenTelemetry conventions for generative AI; see `docs/traces.md`."""
    details = record.details
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "silkline",
        "gen_ai.request.model": record.model,
        "gen_ai.request.max_tokens": asked.max_tokens,
        "gen_ai.request.choice.count": asked.choices,
        "gen_ai.response.model": record.served or record.model,
        "gen_ai.response.finish_reasons": [reason.value for reason in details.finish],
        **_usage_attributes(details.usage),
        "silkline.cache": record.cache,
        "silkline.stream": asked.stream,
        "silkline.replicas": [attempt.replica for attempt in details.attempts],
        "silkline.image.digests": [image.digest for image in details.images],
        "silkline.image.pixels": [image.original_pixels for image in details.images],
        "silkline.image.budgets": record.pixel_budgets,
    }
    if details.first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = details.first_token
    if record.error is not None:
        attributes["error.type"] = record.error
    return attributes
