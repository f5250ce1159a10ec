"""Which store keeps idempotency keys: the widest that the cache settings name."""

from __future__ import annotations

from pathlib import Path

from silkline.config import CacheSettings
from silkline.idempotency.base import KeyStore
from silkline.idempotency.memory import MemoryKeys
from silkline.idempotency.redis import RedisKeys
from silkline.idempotency.sqlite import SqliteKeys

SUFFIX = ".keys"
"""What the file of keys is called after the cache's file."""


def create_key_store(settings: CacheSettings) -> KeyStore:
    """Redis where the cache uses one, a file beside the cache's own where it has one, else memory.

    Raises:
        ConfigError: The Redis URL is wrong.
        EnvironmentFault: Redis is wanted, but its library is not installed.
    """
    if settings.cache_redis:
        return RedisKeys(settings.cache_redis)
    if settings.cache_disk:
        path = Path(settings.cache_disk).expanduser()
        return SqliteKeys(path.with_name(path.name + SUFFIX))
    return MemoryKeys()
