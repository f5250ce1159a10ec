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
from silkline.cache.sqlite_file import ForeignFile, check_own
from silkline.cache.tiered import TieredCache
from silkline.config import CacheSettings
from silkline.errors import ConfigError


def create_cache(settings: CacheSettings) -> AnswerCache:
    """The cache that the settings describe: memory, then disk, Redis, and the object store.

    Raises:
        ConfigError: The disk's file is somebody else's, or the URL of Redis or of the object store
            is wrong.
        EnvironmentFault: One of them is wanted, but its library is not installed.
    """
    further: list[Tier] = []
    if settings.cache_disk:
        path = Path(settings.cache_disk).expanduser()
        _check_own(path)
        further.append(DiskTier(path, settings.cache_disk_bytes))
    if settings.cache_redis:
        further.append(RedisTier(settings.cache_redis))
    if settings.cache_objects:
        further.append(ObjectTier(settings.cache_objects))
    near = MemoryTier(settings.cache_memory_bytes)
    tiers = TieredCache(near, further, ttl_seconds=settings.cache_ttl)
    return AnswerCache(tiers, _similar_images(settings))


def _check_own(path: Path) -> None:
    try:
        check_own(path)
    except ForeignFile as error:
        raise ConfigError(
            f"{path} is there, and is no cache of Silkline's: it would be lost. Name another file "
            "by cache_disk, or remove this one."
        ) from error
    except OSError:
        return  # a disk that fails at present: the tier is told as degraded, and tries again


def _similar_images(settings: CacheSettings) -> NearDuplicates | None:
    if not settings.near_duplicates:
        return None
    return NearDuplicates(
        settings.near_distance, settings.near_sample, ttl_seconds=settings.cache_ttl
    )
