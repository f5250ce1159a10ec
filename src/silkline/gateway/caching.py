"""From settings to the cache of answers, and from its state to metrics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from silkline.cache.answers import AnswerCache, CacheSnapshot
from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.memory import MemoryTier
from silkline.cache.redis import RedisTier
from silkline.cache.tiered import TieredCache
from silkline.config import CacheSettings


def create_cache(settings: CacheSettings) -> AnswerCache:
    """The cache that the settings describe: memory, then disk, then Redis.

    Raises:
        ConfigError: The Redis URL is wrong.
        EnvironmentFault: Redis is wanted, but its library is not installed.
    """
    further: list[Tier] = []
    if settings.cache_disk:
        further.append(DiskTier(Path(settings.cache_disk).expanduser(), settings.cache_disk_bytes))
    if settings.cache_redis:
        further.append(RedisTier(settings.cache_redis))
    near = MemoryTier(settings.cache_memory_bytes)
    return AnswerCache(TieredCache(near, further, ttl_seconds=settings.cache_ttl))


def cache_metrics(snapshot: CacheSnapshot) -> Iterable[Metric]:
    """What each tier of the cache did and holds."""
    reads = CounterMetricFamily(
        "silkline_cache_reads", "Reads by tier and outcome.", labels=["tier", "outcome"]
    )
    errors = CounterMetricFamily(
        "silkline_cache_errors", "Uses of a tier that failed.", labels=["tier"]
    )
    entries = GaugeMetricFamily("silkline_cache_entries", "Answers in a tier.", labels=["tier"])
    size = GaugeMetricFamily("silkline_cache_bytes", "Bytes that they take.", labels=["tier"])
    degraded = GaugeMetricFamily(
        "silkline_cache_degraded", "1 while a tier fails; it then costs misses.", labels=["tier"]
    )
    for tier in snapshot.tiers:
        spoilt = {"corrupt": tier.corrupt, "stale": tier.stale}
        outcomes = {"hit": tier.hits, "miss": tier.misses - sum(spoilt.values()), **spoilt}
        for outcome, count in outcomes.items():
            reads.add_metric([tier.name, outcome], count)
        errors.add_metric([tier.name], tier.health.errors)
        degraded.add_metric([tier.name], float(tier.health.degraded))
        if tier.health.entries is not None:
            entries.add_metric([tier.name], tier.health.entries)
        if tier.health.bytes is not None:
            size.add_metric([tier.name], tier.health.bytes)
    return (reads, errors, entries, size, degraded)
