"""The two text formats that Prometheus reads; only OpenMetrics has exemplars.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics


class Format(StrEnum):
    """A text format of metrics."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

    @classmethod
    def accepted(cls, accept: str) -> Format:
        """Returns the format for a client that sends this `Accept` header."""
        wanted = (part.partition(";")[0].strip() for part in accept.split(","))
        return cls.OPENMETRICS if "application/openmetrics-text" in wanted else cls.TEXT

    def write(self, registry: CollectorRegistry) -> bytes:
        """Returns the metrics of a registry in this format."""
        if self is Format.OPENMETRICS:
            return bytes(openmetrics.generate_latest(registry))  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry))
