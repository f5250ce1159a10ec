"""Exports spans to an OpenTelemetry collector, with OpenTelemetry's SDK; only with `trace_url`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from silkline import __version__
from silkline.errors import EnvironmentFault

AttributeValue = str | bool | int | float | Sequence[str] | Sequence[int]

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a request's trace.

    Attributes:
        name: Its name.
        id: Its id, as 16 hexadecimal digits.
        parent_id: The id of the span that it is in; empty means none.
        start: Seconds since the epoch.
        seconds: How long it took.
        is_server: Whether it is the request as the client sees it.
        error: The code of the error that ended it; empty means none.
        attributes: Its attributes.
    """

    name: str
    id: str
    parent_id: str
    start: float
    seconds: float
    is_server: bool = False
    error: str = ""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


class SpanExporter(Protocol):
    """Sends spans to a collector."""

    def export(self, trace_id: str, spans: Sequence[Span], *, remote_parent: bool) -> None:
        """Queues the spans of a trace; never waits, and drops them if the queue is full.

        Args:
            trace_id: The trace, as 32 hexadecimal digits.
            spans: The spans.
            remote_parent: Whether the parent of the first span is another server's.
        """

    def close(self) -> None:
        """Sends what is queued, for some seconds at most; idempotent."""


def otlp_exporter(url: str) -> SpanExporter:
    """Returns an exporter that sends OTLP over HTTP to a collector, in a thread of its own.

    Raises:
        EnvironmentFault: OpenTelemetry's SDK is not installed.
    """
    try:
        from silkline.observe.otlp import OtlpExporter  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise EnvironmentFault(
            "trace_url is set, but OpenTelemetry's SDK is not installed.",
            remedy="pip install 'silkline[traces]'",
        ) from error
    return OtlpExporter(url, __version__)


def nanoseconds(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * _NANOSECONDS)
