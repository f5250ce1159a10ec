"""From settings to the cache of answers."""

from __future__ import annotations

from pathlib import Path

from silkline.cache.answers import AnswerCache
from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.memory import MemoryTier
from silkline.cache.near import NearDuplicates
from silkline.cache.object_store import ObjectTier
from silkline.cache.redis import RedisTier
from silkline.cache.tiered import TieredCache
from silkline.config import CacheSettings


def create_cache(settings: CacheSettings) -> AnswerCache:
    """The cache that the settings describe: memory, then disk, Redis, and the object store.

    Raises:
        ConfigError: The URL of Redis or of the object store is wrong.
        EnvironmentFault: One of them is wanted, but its library is not installed.
    """
    further: list[Tier] = []
    if settings.cache_disk:
        further.append(DiskTier(Path(settings.cache_disk).expanduser(), settings.cache_disk_bytes))
    if settings.cache_redis:
        further.append(RedisTier(settings.cache_redis))
    if settings.cache_objects:
        further.append(ObjectTier(settings.cache_objects))
    near = MemoryTier(settings.cache_memory_bytes)
    tiers = TieredCache(near, further, ttl_seconds=settings.cache_ttl)
    return AnswerCache(tiers, _similar_pictures(settings))


def _similar_pictures(settings: CacheSettings) -> NearDuplicates | None:
    if not settings.near_duplicates:
        return None
    return NearDuplicates(
        settings.near_distance, settings.near_sample, ttl_seconds=settings.cache_ttl
    )
