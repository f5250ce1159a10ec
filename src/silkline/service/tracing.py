"""Traces of requests, as spans of the stages that each request has measured anyway.

The spans are built when a request has ended, and only if its trace is kept. Nothing is measured for
them, so stages have their true durations and are laid end to end in their order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from silkline.config import TraceSettings
from silkline.core import Stage
from silkline.observe.spans import AttributeValue, Span, SpanExporter
from silkline.observe.trace_context import trace_context
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from silkline.service.request_trace import RequestTrace

_FIRST_SERVER_ERROR = 500

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
    """

    method: str
    path: str
    route: str
    status: int


class Tracing:
    """Begins the traces of requests, and exports those that are kept."""

    def __init__(self, settings: TraceSettings, exporter: SpanExporter) -> None:
        """Takes the settings, and the exporter, which the caller closes."""
        self._ratio = settings.trace_ratio
        self._slow = settings.trace_slow
        self._exporter = exporter

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace:
        """Begins a request's trace, or continues that in its headers."""
        return RequestTrace(trace_context(headers, self._ratio))

    def ended(self, record: RequestRecord, trace: RequestTrace, ended: Ended) -> None:
        """Exports the trace of a request that has just ended, if it is sampled, slow or failed."""
        seconds = record.elapsed()
        failed = record.error is not None or ended.status >= _FIRST_SERVER_ERROR
        if not (trace.context.sampled or failed or seconds >= self._slow):
            return
        context = trace.context
        self._exporter.export(
            context.trace_id,
            list(_spans(record, trace, ended, seconds)),
            remote_parent=bool(context.parent_id),
        )


def _spans(
    record: RequestRecord, trace: RequestTrace, ended: Ended, seconds: float
) -> Iterator[Span]:
    """The span of the request, that of the model's work in it, and those of the stages."""
    context, began = trace.context, time.time() - seconds
    error = record.error or ""
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
    if trace.question is None:
        return
    yield _stage("receive", context.span_id, began, trace.asked_after, "gateway")
    operation = Span(
        f"chat {record.model}",
        secrets.token_hex(8),
        context.span_id,
        began + trace.asked_after,
        seconds - trace.asked_after,
        error=error,
        attributes=_operation_attributes(record, trace, trace.question),
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


def _operation_attributes(
    record: RequestRecord, trace: RequestTrace, question: Question
) -> dict[str, AttributeValue]:
    """The attributes of the OpenTelemetry conventions for generative AI; see `docs/traces.md`."""
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "silkline",
        "gen_ai.request.model": question.model or record.model,
        "gen_ai.request.max_tokens": question.sampling.max_tokens,
        "gen_ai.request.temperature": question.sampling.temperature,
        "gen_ai.response.model": record.served or record.model,
        "silkline.cache": record.cache,
        "silkline.stream": question.stream,
    }
    if trace.finish is not None:
        attributes["gen_ai.response.finish_reasons"] = [trace.finish.value]
    if (usage := trace.usage) is not None:
        attributes |= {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.image.input_tokens": usage.image_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        }
    if trace.images:
        attributes["silkline.image.digests"] = [image.digest for image in trace.images]
        attributes["silkline.image.pixels"] = [image.original_pixels for image in trace.images]
        attributes["silkline.image.budgets"] = record.pixel_budgets
    if record.error is not None:
        attributes["error.type"] = record.error
    return attributes
