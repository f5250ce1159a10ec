"""Request metrics: counters and histograms that are updated as requests end.

`catalogue` declares them. Each `Metrics` has its own registry, so two gateways in one process stay
separate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from silkline.config import SloSettings
from silkline.core import Stage, Timeline, Usage
from silkline.observe import catalogue
from silkline.observe.declared import Declared
from silkline.observe.exposition import Format
from silkline.observe.objectives import Objectives

REQUEST_ID = "request_id"
"""The label of exemplars: one request whose duration was observed."""

MAX_EXEMPLAR_CHARACTERS = 128 - len(REQUEST_ID)
"""OpenMetrics allows 128 characters for the labels of an exemplar, names included."""


class _Read(Collector):
    """A collector that calls a function on every scrape."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


class Metrics:
    """The gateway's counters and histograms."""

    def __init__(self, slo: SloSettings | None = None) -> None:
        """Begins at zero.

        Args:
            slo: The objectives to count; by default those of the default settings.
        """
        self.registry = CollectorRegistry()
        self.objectives = Objectives(slo or SloSettings())
        self._requests = self._counter(catalogue.REQUESTS)
        self._errors = self._counter(catalogue.ERRORS)
        self._tokens = self._counter(catalogue.TOKENS)
        self._ignored = self._counter(catalogue.IGNORED_FIELDS)
        self._request_seconds = self._histogram(catalogue.REQUEST_SECONDS)
        self._stage_seconds = self._histogram(catalogue.STAGE_SECONDS)
        self._time_to_first_token = self._histogram(catalogue.TIME_TO_FIRST_TOKEN)
        self._time_per_output_token = self._histogram(catalogue.TIME_PER_OUTPUT_TOKEN)
        self._image_pixels = self._histogram(catalogue.IMAGE_PIXELS)
        self._image_tokens = self._histogram(catalogue.IMAGE_TOKENS)
        self._cache_hit_age = self._histogram(catalogue.CACHE_HIT_AGE)
        self._loop_lag = self._histogram(catalogue.LOOP_LAG)

    def _counter(self, metric: Declared) -> Callable[..., Counter]:
        """Maps labels to their counter; cached, as the library's lookup is slow."""
        made = Counter(metric.name, metric.about, metric.labels, registry=self.registry)
        return cache(made.labels) if metric.labels else lambda: made

    def _histogram(self, metric: Declared) -> Callable[..., Histogram]:
        made = Histogram(
            metric.name,
            metric.about,
            metric.labels,
            buckets=metric.buckets,
            registry=self.registry,
        )
        return cache(made.labels) if metric.labels else lambda: made

    def add_source(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Exports the metric families that `read` returns on every scrape."""
        self.registry.register(_Read(read))

    def request_ended(
        self, route: str, code: int, cache: str, model: str, seconds: float, request_id: str = ""
    ) -> None:
        """Counts a request by its HTTP status, and records its duration."""
        self._requests(route, str(code), cache, model).inc()
        self._request_seconds(route, model).observe(seconds, _exemplar(request_id))

    def failed(self, route: str, code: str) -> None:
        """Counts a request that ended in an error, by the error's code."""
        self._errors(route, code).inc()

    def fields_ignored(self, count: int) -> None:
        """Counts unknown fields of a request that were ignored."""
        self._ignored().inc(count)

    def first_token(self, model: str, seconds: float, request_id: str = "") -> None:
        """Records the time to first token of a streaming request."""
        self._time_to_first_token(model).observe(seconds, _exemplar(request_id))
        self.objectives.first_token(model, seconds)

    def image_came(self, pixels: int) -> None:
        """Records an image's original size in pixels."""
        self._image_pixels().observe(pixels)

    def cache_hit(self, tier: str, age_seconds: float) -> None:
        """Records the age of an answer that a tier of the cache returned."""
        self._cache_hit_age(tier).observe(age_seconds)

    def loop_lagged(self, seconds: float) -> None:
        """Records how late the event loop woke up."""
        self._loop_lag().observe(seconds)

    def answered(self, model: str, usage: Usage, timeline: Timeline) -> None:
        """Records an answer's tokens, its seconds in each stage, and its seconds for each token."""
        for stage, seconds in timeline.seconds.items():
            self._stage_seconds(stage.value, model).observe(seconds)
        generated = timeline.seconds.get(Stage.GENERATE)
        if generated is not None and usage.completion_tokens > 1:
            each = generated / (usage.completion_tokens - 1)
            self._time_per_output_token(model).observe(each)
        if usage.image_tokens:
            self._image_tokens(model).observe(usage.image_tokens)
        for kind, tokens in (
            ("prompt", usage.prompt_tokens),
            ("image", usage.image_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
        ):
            counter = self._tokens(kind, model)  # also without tokens, so that it begins at 0
            if tokens:
                counter.inc(tokens)

    def render(self, form: Format = Format.TEXT) -> bytes:
        """Returns all metrics in one of Prometheus' text formats."""
        return form.write(self.registry)


def _exemplar(request_id: str) -> dict[str, str] | None:
    """What names the request in OpenMetrics; None if its id is too long for that."""
    if not request_id or len(request_id) > MAX_EXEMPLAR_CHARACTERS:
        return None
    return {REQUEST_ID: request_id}
