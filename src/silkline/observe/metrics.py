"""The metrics that are counted and timed as requests go by.

Names follow `silkline_<what>_<unit>`; the text format is that of Prometheus. A `Metrics` object
holds its own registry: two gateways in one process do not mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from silkline.core import Timeline, Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.42, 0.7, 1, 2, 5, 10, 30, 60, 120)
_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PIXEL_BUCKETS = (1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7)
_TOKEN_BUCKETS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class _Read(Collector):
    """Families that are read when Prometheus asks."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


class Metrics:
    """Counts and times what the gateway does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "silkline_requests_total",
            "Requests by route, HTTP status, cache state and model.",
            ["route", "code", "cache", "model"],
        )
        self._errors = self._counter(
            "silkline_errors_total",
            "Requests that ended in an error, by route and code; also streams that had begun.",
            ["route", "code"],
        )
        self._tokens = self._counter(
            "silkline_tokens_total", "Tokens by kind: prompt, image, cached, completion.", ["kind"]
        )
        self._ignored = Counter(
            "silkline_ignored_fields_total",
            "Unknown fields of requests that were left out.",
            registry=self.registry,
        )
        self._request_seconds = cache(
            self._histogram(
                "silkline_request_seconds",
                "Seconds from the end of a request's head to its answer's last byte.",
                _REQUEST_BUCKETS,
                ["route"],
            ).labels
        )
        self._stage_seconds = cache(
            self._histogram(
                "silkline_stage_seconds",
                "Seconds a request spent in a stage.",
                _STAGE_BUCKETS,
                ["stage"],
            ).labels
        )
        self._time_to_first_token = self._histogram(
            "silkline_time_to_first_token_seconds",
            "Seconds from the end of a streaming request's head to its first piece of text.",
            _REQUEST_BUCKETS,
        )
        self._image_pixels = self._histogram(
            "silkline_image_pixels",
            "Pixels of a picture as it came, before it was reduced.",
            _PIXEL_BUCKETS,
        )
        self._image_tokens = self._histogram(
            "silkline_image_tokens", "Prompt tokens that a request's pictures took.", _TOKEN_BUCKETS
        )

    def _counter(self, name: str, what: str, labels: Sequence[str]) -> Callable[..., Counter]:
        """From labels to their counter; the library's own way there takes longer than to count."""
        return cache(Counter(name, what, labels, registry=self.registry).labels)

    def _histogram(
        self, name: str, what: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)

    def watch(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Exports the families that `read` gives whenever Prometheus asks."""
        self.registry.register(_Read(read))

    def request_ended(self, route: str, code: int, cache: str, model: str, seconds: float) -> None:
        """Counts a request with the status it got and the seconds it took."""
        self._requests(route, str(code), cache, model).inc()
        self._request_seconds(route).observe(seconds)

    def failed(self, route: str, code: str) -> None:
        """Counts a request that ended in an error, by the error's code."""
        self._errors(route, code).inc()

    def fields_ignored(self, count: int) -> None:
        """Counts unknown fields of a request that were left out."""
        self._ignored.inc(count)

    def first_token(self, seconds: float) -> None:
        """Notes how long a streaming client waited for the first text."""
        self._time_to_first_token.observe(seconds)

    def image_came(self, pixels: int) -> None:
        """Notes a picture's original size in pixels."""
        self._image_pixels.observe(pixels)

    def answered(self, usage: Usage, timeline: Timeline) -> None:
        """Notes what an answer cost, in tokens and in seconds a stage."""
        for stage, seconds in timeline.seconds.items():
            self._stage_seconds(stage.value).observe(seconds)
        if usage.image_tokens:
            self._image_tokens.observe(usage.image_tokens)
        self._tokens("prompt").inc(usage.prompt_tokens)
        self._tokens("image").inc(usage.image_tokens)
        self._tokens("cached").inc(usage.cached_tokens)
        self._tokens("completion").inc(usage.completion_tokens)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
