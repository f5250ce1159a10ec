"""From the setting to the store of idempotency keys."""

from __future__ import annotations

from pathlib import Path

from silkline.config import IdempotencySettings
from silkline.idempotency.base import KeyStore
from silkline.idempotency.memory import MemoryKeys
from silkline.idempotency.redis import RedisKeys
from silkline.idempotency.sqlite import SqliteKeys


def create_key_store(settings: IdempotencySettings) -> KeyStore:
    """The store that `idempotency_store` names: a Redis URL, a SQLite file, or memory.

    Raises:
        ConfigError: The Redis URL is wrong.
        EnvironmentFault: Redis is wanted, but its library is not installed.
    """
    where = settings.idempotency_store
    if "://" in where:
        return RedisKeys(where)
    if where:
        return SqliteKeys(Path(where).expanduser())
    return MemoryKeys()
