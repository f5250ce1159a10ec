"""Creates the store of idempotency keys from the settings."""

from __future__ import annotations

from pathlib import Path

from silkline.config import IdempotencySettings
from silkline.idempotency.base import KeyStore
from silkline.idempotency.memory import MemoryKeys
from silkline.idempotency.redis import RedisKeys
from silkline.idempotency.sqlite import SqliteKeys


def create_key_store(settings: IdempotencySettings) -> KeyStore:
    """Creates the store for `idempotency_store`: a Redis URL, a SQLite file, or empty for memory.

    Raises:
        ConfigError: The Redis URL is invalid.
        EnvironmentFault: The setting is a Redis URL, but the `redis` library is not installed.
    """
    location = settings.idempotency_store
    if "://" in location:
        return RedisKeys(location)
    if location:
        return SqliteKeys(Path(location).expanduser())
    return MemoryKeys()
