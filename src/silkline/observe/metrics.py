"""Request metrics: counters and histograms that are updated as requests end.

Names follow `silkline_<what>_<unit>`, in Prometheus' text format. Each `Metrics` has its own
registry, so two gateways in one process stay separate.
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
    """A collector that calls a function on every scrape."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


class Metrics:
    """The gateway's counters and histograms."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "silkline_requests_total",
            "Requests by route, HTTP status, cache state and model.",
            ["route", "code", "cache", "model"],
        )
        self._errors = self._counter(
            "silkline_errors_total",
            "Requests that ended in an error, by route and code, including started streams.",
            ["route", "code"],
        )
        self._tokens = self._counter(
            "silkline_tokens_total", "Tokens by kind: prompt, image, cached, completion.", ["kind"]
        )
        self._ignored = Counter(
            "silkline_ignored_fields_total",
            "Unknown request fields that were ignored.",
            registry=self.registry,
        )
        self._request_seconds = cache(
            self._histogram(
                "silkline_request_seconds",
                "Seconds from the end of a request's headers to the last byte of its response.",
                _REQUEST_BUCKETS,
                ["route"],
            ).labels
        )
        self._stage_seconds = cache(
            self._histogram(
                "silkline_stage_seconds",
                "Seconds that a request spent in a stage.",
                _STAGE_BUCKETS,
                ["stage"],
            ).labels
        )
        self._time_to_first_token = self._histogram(
            "silkline_time_to_first_token_seconds",
            "Seconds from the end of a streaming request's headers to its first chunk of text.",
            _REQUEST_BUCKETS,
        )
        self._image_pixels = self._histogram(
            "silkline_image_pixels",
            "Pixels of an image as received, before it is reduced.",
            _PIXEL_BUCKETS,
        )
        self._image_tokens = self._histogram(
            "silkline_image_tokens", "Prompt tokens of a request's images.", _TOKEN_BUCKETS
        )

    def _counter(self, name: str, help_text: str, labels: Sequence[str]) -> Callable[..., Counter]:
        """Maps labels to their counter; cached, as the library's lookup is slow."""
        return cache(Counter(name, help_text, labels, registry=self.registry).labels)

    def _histogram(
        self, name: str, help_text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)

    def add_source(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Exports the metric families that `read` returns on every scrape."""
        self.registry.register(_Read(read))

    def request_ended(self, route: str, code: int, cache: str, model: str, seconds: float) -> None:
        """Counts a request by its HTTP status, and records its duration."""
        self._requests(route, str(code), cache, model).inc()
        self._request_seconds(route).observe(seconds)

    def failed(self, route: str, code: str) -> None:
        """Counts a request that ended in an error, by the error's code."""
        self._errors(route, code).inc()

    def fields_ignored(self, count: int) -> None:
        """Counts unknown fields of a request that were ignored."""
        self._ignored.inc(count)

    def first_token(self, seconds: float) -> None:
        """Records the time to first token of a streaming request."""
        self._time_to_first_token.observe(seconds)

    def image_came(self, pixels: int) -> None:
        """Records an image's original size in pixels."""
        self._image_pixels.observe(pixels)

    def answered(self, usage: Usage, timeline: Timeline) -> None:
        """Records an answer's tokens and its seconds in each stage."""
        for stage, seconds in timeline.seconds.items():
            self._stage_seconds(stage.value).observe(seconds)
        if usage.image_tokens:
            self._image_tokens.observe(usage.image_tokens)
        self._tokens("prompt").inc(usage.prompt_tokens)
        self._tokens("image").inc(usage.image_tokens)
        self._tokens("cached").inc(usage.cached_tokens)
        self._tokens("completion").inc(usage.completion_tokens)

    def render(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
