"""Reads status snapshots as metrics, when Prometheus scrapes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psutil

from silkline.cache.answers import CacheSnapshot
from silkline.cache.near import NearSnapshot
from silkline.cache.tiered import TierSnapshot
from silkline.ingress.intake import IntakeSnapshot
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.lifecycle import Lifecycle


def process_readings(lifecycle: Lifecycle) -> Iterator[Reading]:
    """Metrics of the gateway process."""
    process = psutil.Process()
    yield catalogue.OPEN_REQUESTS, (), lifecycle.open_requests
    yield catalogue.GATEWAY_TASKS, (), len(asyncio.all_tasks())
    yield catalogue.GATEWAY_RESIDENT, (), process.memory_info().rss
    yield catalogue.GATEWAY_STARTED, (), process.create_time()
    for reason, count in lifecycle.connections_turned_away().items():
        yield catalogue.CONNECTIONS_ENDED, (reason,), count


def intake_readings(snapshot: IntakeSnapshot) -> Iterator[Reading]:
    """Metrics of image fetching and decoding."""
    loading = snapshot.loading
    yield catalogue.RECOGNISED, (), snapshot.recognised
    yield catalogue.FETCHES, (), loading.fetches
    yield catalogue.DECODES, (), loading.decodes
    yield catalogue.SHARED_FETCHES, (), loading.fetches_shared
    yield catalogue.SHARED_DECODES, (), loading.decodes_shared
    yield catalogue.KNOWN, (), snapshot.known
    yield catalogue.KNOWN_BYTES, (), snapshot.known_bytes
    yield catalogue.INFLIGHT_BYTES, (), loading.inflight_bytes
    yield catalogue.INFLIGHT_WAITING, (), loading.inflight_waiting
    for kind, pool in loading.decoders.items():
        yield catalogue.DECODERS, (kind,), pool.processes
        yield catalogue.DECODERS_BUSY, (kind,), pool.busy
        yield catalogue.DECODERS_WAITING, (kind,), pool.waiting
        yield catalogue.DECODERS_REPLACED, (kind,), pool.replaced


def cache_readings(snapshot: CacheSnapshot) -> Iterator[Reading]:
    """Metrics of the answer cache and its tiers."""
    for tier in snapshot.tiers:
        yield from _tier_readings(tier)
    yield catalogue.CACHE_COMPUTING, (), snapshot.computing
    if snapshot.near is not None:
        yield from _near_readings(snapshot.near)


def _tier_readings(tier: TierSnapshot) -> Iterator[Reading]:
    unusable = {"corrupt": tier.corrupt, "stale": tier.stale}
    outcomes = {"hit": tier.hits, "miss": tier.misses - sum(unusable.values()), **unusable}
    for outcome, count in outcomes.items():
        yield catalogue.CACHE_READS, (tier.name, outcome), count
    name, health = (tier.name,), tier.health
    yield catalogue.CACHE_ERRORS, name, health.errors
    yield catalogue.CACHE_EVICTIONS, name, health.evictions
    yield catalogue.CACHE_WRITES_DROPPED, name, tier.dropped
    yield catalogue.CACHE_WRITES_WAITING, name, tier.waiting
    if health.entries is not None:
        yield catalogue.CACHE_ENTRIES, name, health.entries
    if health.bytes is not None:
        yield catalogue.CACHE_BYTES, name, health.bytes
    yield catalogue.CACHE_DEGRADED, name, health.degraded


def _near_readings(near: NearSnapshot) -> Iterator[Reading]:
    yield catalogue.NEAR_ENTRIES, (), near.entries
    yield catalogue.NEAR_HITS, (), near.hits
    yield catalogue.NEAR_SAMPLES, (), near.samples
    yield catalogue.NEAR_FALSE_HITS, (), near.false_hits
