"""From what the rooms tell of themselves to metrics; read when Prometheus asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from silkline.admission.admission import AdmissionSnapshot
from silkline.cache.answers import CacheSnapshot
from silkline.cache.near import NearSnapshot
from silkline.cache.tiered import TierSnapshot
from silkline.ingress.intake import IntakeSnapshot
from silkline.routing.health import PoolHealth, ReplicaHealth
from silkline.service.lifecycle import Lifecycle


def process_metrics(lifecycle: Lifecycle) -> Iterable[Metric]:
    """What the gateway itself holds."""
    yield _gauge("open_requests", "Requests that are being served.", lifecycle.open_requests)
    yield _gauge("gateway_tasks", "Tasks of its event loop.", len(asyncio.all_tasks()))
    away = CounterMetricFamily(
        "silkline_connections_ended", "Connections that the server ended.", labels=["reason"]
    )
    for reason, count in lifecycle.connections_turned_away().items():
        away.add_metric([reason], count)
    yield away


def intake_metrics(snapshot: IntakeSnapshot) -> Iterable[Metric]:
    """How pictures come in."""
    loading = snapshot.loading
    yield _counter(
        "intake_recognised", "Requests all of whose pictures were known.", snapshot.recognised
    )
    yield _counter("intake_fetches", "Fetches of pictures.", loading.fetches)
    yield _counter("intake_decodes", "Decodings of pictures.", loading.decodes)
    yield _counter(
        "intake_shared_fetches", "Pictures that came by another's fetch.", loading.fetches_shared
    )
    yield _counter(
        "intake_shared_decodes", "Pictures that came by another's decoding.", loading.decodes_shared
    )
    yield _gauge("intake_known", "Pictures that are known.", snapshot.known)
    yield _gauge("intake_known_bytes", "Bytes that knowing them takes.", snapshot.known_bytes)
    yield _gauge(
        "intake_inflight_bytes", "Bytes of fetched pictures in memory.", loading.inflight_bytes
    )
    yield _gauge(
        "intake_inflight_waiting", "Fetches that wait for memory.", loading.inflight_waiting
    )


def cache_metrics(snapshot: CacheSnapshot) -> Iterable[Metric]:
    """What each tier of the cache did and holds."""
    reads = CounterMetricFamily(
        "silkline_cache_reads", "Reads by tier and outcome.", labels=["tier", "outcome"]
    )
    for tier in snapshot.tiers:
        spoilt = {"corrupt": tier.corrupt, "stale": tier.stale}
        outcomes = {"hit": tier.hits, "miss": tier.misses - sum(spoilt.values()), **spoilt}
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
    "errors": "Uses of a tier that failed.",
    "evictions": "Answers that left a tier for room.",
    "writes_dropped": "Writes given up: too many waited.",
    "writes_waiting": "Writes that wait for a tier.",
    "entries": "Answers in a tier.",
    "bytes": "Bytes that they take.",
    "degraded": "1 while a tier fails; it then costs misses.",
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
    yield _gauge("cache_near_entries", "Pictures that others are held against.", near.entries)
    yield _counter("cache_near_hits", "Answers found by a similar picture.", near.hits)
    yield _counter("cache_near_samples", "Such answers that were computed too.", near.samples)
    yield _counter(
        "cache_near_false_hits", "Samples whose computed answer was another.", near.false_hits
    )


def admission_metrics(snapshot: AdmissionSnapshot) -> Iterable[Metric]:
    """Who waits for the engines, how long, and who was refused why."""
    yield _gauge("queue_preparing", "Requests on their way to the queue.", snapshot.preparing)
    yield _gauge("queue_waiting", "Requests that wait for an engine.", snapshot.waiting)
    yield _gauge("queue_running", "Requests that an engine works on.", snapshot.running)
    yield _gauge("queue_capacity", "Requests that the engines can hold.", snapshot.capacity)
    yield _gauge("queue_tokens", "Tokens of the requests that wait.", snapshot.queue_tokens)
    wait = snapshot.predicted_wait_seconds
    if wait is not None:
        yield _gauge("queue_predicted_wait_seconds", "Until all that waits has gone on.", wait)
    yield _gauge(
        "queue_pixel_ratio", "Least share of the pixel budget in use.", snapshot.pixel_share
    )
    admitted = CounterMetricFamily(
        "silkline_admitted", "Requests that were let in.", labels=["tenant"]
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
    """How the replicas of the engine get on."""
    yield _counter("routing_retries", "Requests that were sent again.", health.retries)
    yield from _families(
        "replica",
        "replica",
        _OF_A_REPLICA,
        ((replica.name, _replica_values(replica)) for replica in health.replicas),
    )


_OF_A_REPLICA = {
    "ready": "Whether a replica takes requests.",
    "ejected": "Whether a replica is left out for its failures or its slowness.",
    "weight": "A replica's share of the requests beside the others'.",
    "limit": "Most requests that a replica gets at a time.",
    "requests": "Requests that a replica has at present.",
    "given_requests": "Requests that a replica was given.",
    "errors": "Calls that a replica lost, or answered with nonsense.",
    "restarts": "How often a replica's process was replaced.",
    "resident_bytes": "Memory of a replica's process.",
    "engine_running": "Requests that a replica's engine computes.",
    "engine_queued": "Requests that wait inside a replica's engine.",
    "kv_cache_ratio": "Share of a replica's KV cache in use.",
    "progress_age_seconds": "Age of a replica's last step.",
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
"""Of what tiers and replicas tell: what only grows."""


def _families(
    prefix: str,
    label: str,
    about: Mapping[str, str],
    rows: Iterable[tuple[str, Mapping[str, float]]],
) -> Iterable[Metric]:
    """A family for each value that a row has; the rows by their names."""
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for owner, values in rows:
        for name, value in values.items():
            if name not in families:
                family = CounterMetricFamily if name in _COUNTED else GaugeMetricFamily
                families[name] = family(f"silkline_{prefix}_{name}", about[name], labels=[label])
            families[name].add_metric([owner], value)
    return families.values()


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"silkline_{name}", what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"silkline_{name}", what, value=value)
