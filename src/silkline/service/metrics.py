"""Turns status snapshots into Prometheus metrics, when Prometheus scrapes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from silkline.admission.admission import AdmissionSnapshot
from silkline.cache.answers import CacheSnapshot
from silkline.cache.near import NearSnapshot
from silkline.cache.tiered import TierSnapshot
from silkline.ingress.intake import IntakeSnapshot
from silkline.observe.families import Rule
from silkline.routing.health import PoolHealth, ReplicaHealth
from silkline.service.lifecycle import Lifecycle

_LARGEST = (
    "queue_predicted_wait_seconds",
    "queue_capacity",
    "cache_degraded",
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
    yield from _families(
        "cache", "tier", _OF_A_TIER, ((tier.name, _tier_values(tier)) for tier in snapshot.tiers)
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


def admission_metrics(snapshot: AdmissionSnapshot) -> Iterable[Metric]:
    """Metrics of admission and the queue."""
    yield _gauge("queue_preparing", "Requests not yet in the queue.", snapshot.preparing)
    yield _gauge("queue_waiting", "Requests waiting for an engine.", snapshot.waiting)
    yield _gauge("queue_running", "Requests running on an engine.", snapshot.running)
    yield _gauge("queue_capacity", "Maximum requests running on the engines.", snapshot.capacity)
    yield _gauge("queue_tokens", "Tokens of the waiting requests.", snapshot.queue_tokens)
    wait = snapshot.predicted_wait_seconds
    if wait is not None:
        yield _gauge(
            "queue_predicted_wait_seconds", "Seconds until all waiting requests have started.", wait
        )
    yield _gauge(
        "queue_pixel_ratio",
        "Minimum share of the pixel budget that a tenant gets.",
        snapshot.pixel_share,
    )
    admitted = CounterMetricFamily(
        "silkline_admitted", "Requests that were admitted.", labels=["tenant"]
    )
    refused = CounterMetricFamily(
        "silkline_refused", "Requests that were refused.", labels=["tenant", "reason"]
    )
    for tenant, counts in snapshot.tenants.items():
        admitted.add_metric([tenant], counts.admitted)
        for reason, count in counts.refused.items():
            refused.add_metric([tenant, reason.value], count)
    yield from (admitted, refused)


def replica_metrics(health: PoolHealth) -> Iterable[Metric]:
    """Metrics of the replicas: status, requests and failures."""
    yield _counter("routing_retries", "Requests that were retried.", health.retries)
    yield from _families(
        "replica",
        "replica",
        _OF_A_REPLICA,
        ((replica.name, _replica_values(replica)) for replica in health.replicas),
    )


_OF_A_REPLICA = {
    "ready": "1 while a replica accepts requests.",
    "ejected": "1 while a replica is ejected because it failed or was slow.",
    "weight": "A replica's relative share of the requests.",
    "limit": "Maximum requests in flight on a replica.",
    "requests": "Requests in flight on a replica.",
    "given_requests": "Requests sent to a replica.",
    "errors": "Requests that a replica lost or answered with an invalid response.",
    "restarts": "How often a replica's process was replaced.",
    "resident_bytes": "Resident memory of a replica's process.",
    "engine_running": "Requests that a replica's engine computes.",
    "engine_queued": "Requests that wait inside a replica's engine.",
    "kv_cache_ratio": "Share of a replica's KV cache in use.",
    "progress_age_seconds": "Seconds since the last step of a replica's engine.",
}


def _replica_values(replica: ReplicaHealth) -> Mapping[str, float]:
    values = {
        "ready": float(replica.ready),
        "ejected": float(replica.ejected),
        "weight": replica.weight,
        "limit": float(replica.limit),
        "requests": float(replica.in_flight),
        "given_requests": float(replica.requests),
        "errors": float(replica.errors),
        "restarts": float(replica.restarts),
        "resident_bytes": float(replica.rss_bytes or 0),
    }
    if (engine := replica.engine) is not None:
        values["engine_running"] = float(engine.running)
        values["engine_queued"] = float(engine.queued)
        values["kv_cache_ratio"] = engine.cache_use
        values["progress_age_seconds"] = engine.seconds_since_progress
    return values


_COUNTED = frozenset({"errors", "evictions", "given_requests", "restarts", "writes_dropped"})
"""Values of tiers and replicas that only grow."""


def _families(
    prefix: str,
    label: str,
    about: Mapping[str, str],
    rows: Iterable[tuple[str, Mapping[str, float]]],
) -> Iterable[Metric]:
    """Yields a metric family for each value name; its labels are the rows' names."""
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for owner, values in rows:
        for name, value in values.items():
            if name not in families:
                family = CounterMetricFamily if name in _COUNTED else GaugeMetricFamily
                families[name] = family(f"silkline_{prefix}_{name}", about[name], labels=[label])
            families[name].add_metric([owner], value)
    return families.values()


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"silkline_{name}", help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"silkline_{name}", help_text, value=value)
