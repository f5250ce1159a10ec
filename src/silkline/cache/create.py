"""Creates the answer cache from the settings."""

from __future__ import annotations

from pathlib import Path

from silkline.cache.answers import AnswerCache
from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.memory import MemoryTier
from silkline.cache.near import NearDuplicates
from silkline.cache.object_store import ObjectTier
from silkline.cache.redis import RedisTier
from silkline.cache.sqlite_file import ForeignFile, check_own
from silkline.cache.tiered import OnHit, TieredCache, ignore_hit
from silkline.config import CacheSettings
from silkline.errors import ConfigError


def create_cache(settings: CacheSettings, on_hit: OnHit = ignore_hit) -> AnswerCache:
    """Creates the configured tiers: memory, then disk, Redis, and the object store.

    Args:
        settings: The tiers.
        on_hit: Called for each answer that a tier returns.

    Raises:
        ConfigError: The disk cache's path is a file that is not a Silkline cache, or the URL of
            Redis or of the object store is wrong.
        EnvironmentFault: One of them is configured, but its library is not installed.
    """
    lower: list[Tier] = []
    if settings.cache_disk:
        path = Path(settings.cache_disk).expanduser()
        _check_own(path)
        lower.append(DiskTier(path, settings.cache_disk_bytes))
    if settings.cache_redis:
        lower.append(RedisTier(settings.cache_redis))
    if settings.cache_objects:
        lower.append(ObjectTier(settings.cache_objects))
    memory = MemoryTier(settings.cache_memory_bytes)
    tiers = TieredCache(memory, lower, ttl_seconds=settings.cache_ttl, on_hit=on_hit)
    return AnswerCache(tiers, _near_duplicates(settings))


def _check_own(path: Path) -> None:
    try:
        check_own(path)
    except ForeignFile as error:
        raise ConfigError(
            f"{path} exists and is not a Silkline cache, so Silkline will not overwrite it. Set "
            "cache_disk to another file, or remove this one."
        ) from error
    except OSError:
        return  # the disk fails now: the tier reports that it is degraded, and retries


def _near_duplicates(settings: CacheSettings) -> NearDuplicates | None:
    if not settings.near_duplicates:
        return None
    return NearDuplicates(
        settings.near_distance, settings.near_sample, ttl_seconds=settings.cache_ttl
    )
