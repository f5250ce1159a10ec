"""Turns status snapshots into Prometheus metrics, when Prometheus scrapes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from silkline.cache.answers import CacheSnapshot
from silkline.cache.near import NearSnapshot
from silkline.cache.tiered import TierSnapshot
from silkline.ingress.intake import IntakeSnapshot
from silkline.observe.families import Rule
from silkline.observe.shipping.handler import ShippingSnapshot
from silkline.service.lifecycle import Lifecycle

_LARGEST = (
    "model_loaded",
    "gate_passed",
    "gate_here",
    "gate_time_seconds",
    "queue_predicted_wait_seconds",
    "queue_capacity",
    "cache_degraded",
    "log_failing",
    "replica_ready",
    "replica_ejected",
    "replica_weight",
    "replica_limit",
    "replica_restarts",
    "replica_resident_bytes",
    "replica_engine_running",
    "replica_engine_queued",
    "replica_kv_cache_ratio",
    "replica_progress_age_seconds",
)
_SHARED_TIERS = ("disk", "redis", "objects")

MERGED_BY: Mapping[tuple[str, ...], Rule] = {
    **{(f"silkline_{name}",): max for name in _LARGEST},
    **{
        (f"silkline_cache_{name}", tier): max
        for name in ("entries", "bytes")
        for tier in _SHARED_TIERS
    },
    ("silkline_queue_pixel_ratio",): min,
}
"""How the families of several gateway processes are merged that are not added up.

They describe what the processes share, such as a replica, or something of which the worst counts.
"""


def process_metrics(lifecycle: Lifecycle) -> Iterable[Metric]:
    """Metrics of the gateway process."""
    yield _gauge("open_requests", "Requests that are being served.", lifecycle.open_requests)
    yield _gauge("gateway_tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
    closed = CounterMetricFamily(
        "silkline_connections_ended", "Connections that the server closed.", labels=["reason"]
    )
    for reason, count in lifecycle.connections_turned_away().items():
        closed.add_metric([reason], count)
    yield closed


def log_metrics(shipping: ShippingSnapshot | None) -> Iterable[Metric]:
    """Metrics of the shipping of the logs; none if they are not shipped."""
    if shipping is None:
        return
    counts = shipping.counts
    yield _gauge("log_queued_bytes", "Log events in memory.", shipping.queued_bytes)
    yield _gauge(
        "log_spool_bytes", "Log events on disk that are not shipped.", shipping.spool_bytes
    )
    yield _gauge("log_failing", "1 while the log server fails.", float(counts.failing))
    yield _counter("log_spooled", "Log events that were written to the spool.", shipping.spooled)
    yield _counter("log_shipped", "Log events that the log server has.", counts.shipped)
    yield _counter("log_retries", "Log events that were sent again.", counts.retries)
    yield _counter("log_dead", "Log events that the log server refused for good.", counts.dead)
    dropped = CounterMetricFamily(
        "silkline_log_dropped", "Log events that were lost, by reason.", labels=["reason"]
    )
    for reason, count in shipping.dropped.items():
        dropped.add_metric([reason], count)
    yield dropped


def intake_metrics(snapshot: IntakeSnapshot) -> Iterable[Metric]:
    """Metrics of image fetching and decoding."""
    loading = snapshot.loading
    yield _counter(
        "intake_recognised", "Requests all of whose images were known.", snapshot.recognised
    )
    yield _counter("intake_fetches", "Fetches of images.", loading.fetches)
    yield _counter("intake_decodes", "Decodings of images.", loading.decodes)
    yield _counter(
        "intake_shared_fetches",
        "Images that shared the fetch of another request.",
        loading.fetches_shared,
    )
    yield _counter(
        "intake_shared_decodes",
        "Images that shared the decoding of another request.",
        loading.decodes_shared,
    )
    yield _gauge("intake_known", "Known images.", snapshot.known)
    yield _gauge("intake_known_bytes", "Memory of the known images' records.", snapshot.known_bytes)
    yield _gauge(
        "intake_inflight_bytes", "Bytes of fetched images in memory.", loading.inflight_bytes
    )
    yield _gauge(
        "intake_inflight_waiting", "Fetches that wait for memory.", loading.inflight_waiting
    )


def cache_metrics(snapshot: CacheSnapshot) -> Iterable[Metric]:
    """Metrics of the answer cache and its tiers."""
    reads = CounterMetricFamily(
        "silkline_cache_reads", "Reads by tier and outcome.", labels=["tier", "outcome"]
    )
    for tier in snapshot.tiers:
        unusable = {"corrupt": tier.corrupt, "stale": tier.stale}
        outcomes = {"hit": tier.hits, "miss": tier.misses - sum(unusable.values()), **unusable}
        for outcome, count in outcomes.items():
            reads.add_metric([tier.name, outcome], count)
    yield reads
    yield from families(
        "cache_",
        ["tier"],
        _OF_A_TIER,
        (([tier.name], _tier_values(tier)) for tier in snapshot.tiers),
    )
    yield _gauge("cache_computing", "Computations that may be shared.", snapshot.computing)
    if snapshot.near is not None:
        yield from _near_metrics(snapshot.near)


_OF_A_TIER = {
    "errors": "Failed operations of a tier.",
    "evictions": "Answers evicted from a tier.",
    "writes_dropped": "Writes dropped because the queue was full.",
    "writes_waiting": "Writes waiting for a tier.",
    "entries": "Answers in a tier.",
    "bytes": "Bytes of the answers in a tier.",
    "degraded": "1 while a tier fails; its reads then miss.",
}


def _tier_values(tier: TierSnapshot) -> Mapping[str, float]:
    health = tier.health
    values = {
        "errors": float(health.errors),
        "evictions": float(health.evictions),
        "writes_dropped": float(tier.dropped),
        "writes_waiting": float(tier.waiting),
    }
    if health.entries is not None:
        values["entries"] = float(health.entries)
    if health.bytes is not None:
        values["bytes"] = float(health.bytes)
    return values | {"degraded": float(health.degraded)}


def _near_metrics(near: NearSnapshot) -> Iterable[Metric]:
    yield _gauge("cache_near_entries", "Images in the near-duplicate index.", near.entries)
    yield _counter("cache_near_hits", "Answers reused for a near duplicate.", near.hits)
    yield _counter("cache_near_samples", "Near hits that were also computed.", near.samples)
    yield _counter(
        "cache_near_false_hits", "Samples whose computed answer was different.", near.false_hits
    )


_COUNTED = frozenset(
    {
        "admitted",
        "errors",
        "evictions",
        "given_requests",
        "refused",
        "restarts",
        "routing_retries",
        "writes_dropped",
    }
)
"""Values that only grow."""


def families(
    prefix: str,
    labels: Sequence[str],
    about: Mapping[str, str],
    rows: Iterable[tuple[Sequence[str], Mapping[str, float]]],
) -> Iterable[Metric]:
    """Yields a metric family for each value name; a row has the values of its labels.

    Args:
        prefix: Before each name, with an underscore at its end unless it is empty.
        labels: The names of the labels.
        about: The help text by value name.
        rows: The values of the labels, and the values by name.
    """
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for owner, values in rows:
        for name, value in values.items():
            if name not in found:
                family = CounterMetricFamily if name in _COUNTED else GaugeMetricFamily
                found[name] = family(f"silkline_{prefix}{name}", about[name], labels=labels)
            found[name].add_metric(owner, value)
    return found.values()


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"silkline_{name}", help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"silkline_{name}", help_text, value=value)
