"""The object store tier, shared by all machines: S3, a compatible store, or a folder.

It is the last tier and stores every answer. There is no rule by size: answers are about a kilobyte,
and the longest ones are a tenth of what Redis serves well, so a rule would hardly ever apply, and
each lookup would have to search both tiers. Compared with Redis, an object store has more room and
outlives its servers: it keeps what Redis evicts for lack of memory. Its cost is the time of a read,
paid only when all tiers before it miss and the engine would have to compute.

An object is its expiry as Unix time in seconds (a double, big-endian), followed by the value. The
expiry is not protected by a checksum, and need not be: the value contains its age, with a checksum.
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from silkline.cache.base import Tier, TierHealth
from silkline.cache.entry import MAX_ENTRY_BYTES
from silkline.cache.guard import Guard
from silkline.cache.object_link import link_opener

if TYPE_CHECKING:
    from silkline.cache.object_link import Store

READ_SECONDS = 0.3
"""Maximum time that a request waits for an object."""

WRITE_SECONDS = 5.0
"""Maximum time for writing an object, which no request waits for.

Opening a connection and fetching the role's keys may take longer than a read is allowed to. They
then happen during a write, because the answer that a read missed is written soon after.
"""

SWEEP_SECONDS = 600.0
"""Time between two sweeps of a folder for expired objects."""

_EXPIRES = struct.Struct(">d")
_NAME = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")


class ObjectTier(Tier):
    """Values as objects in an S3 bucket, or as files in a folder.

    A lifecycle rule of the bucket must delete expired objects; in a folder, expired files are
    deleted every `SWEEP_SECONDS` while values are written.
    """

    name = "objects"
    writes_at_once = 16

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Checks the URL; the first operation opens the store.

        Args:
            url: The store's URL (see `object_link.FORMS`).
            clock: Unix time in seconds.

        Raises:
            ConfigError: The URL is wrong.
            EnvironmentFault: The `obstore` library is not installed.
        """
        self._open = link_opener(url)
        self._store: Store | None = None
        self._clock = clock
        faults = _faults()
        self._reads = Guard("objects, reading", faults=faults, timeout_seconds=READ_SECONDS)
        self._writes = Guard("objects, writing", faults=faults, timeout_seconds=WRITE_SECONDS)
        self._sweeps = Guard("objects, sweeping", faults=faults, timeout_seconds=SWEEP_SECONDS)
        self._longest_ttl = 0.0
        self._sweep_at = 0.0
        self._sweeping: asyncio.Task[object] | None = None
        self._closed = False

    async def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none, or the store does not answer in time."""
        return None if self._closed else await self._reads.use(lambda: self._read(key))

    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value for at most `ttl_seconds`, by this machine's clock."""
        if ttl_seconds <= 0 or self._closed:
            return
        content = _EXPIRES.pack(self._clock() + ttl_seconds) + value
        await self._writes.use(lambda: self._write(key, content))
        self._longest_ttl = max(self._longest_ttl, ttl_seconds)
        if self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_SECONDS
            self._sweeping = asyncio.create_task(self._sweeps.use(self._sweep))

    def health(self) -> TierHealth:
        """The tier's status, without entries and bytes, which only the store knows."""
        breakers = (self._reads.breaker, self._writes.breaker)
        return TierHealth(
            degraded=any(breaker.degraded for breaker in breakers),
            errors=sum(breaker.errors for breaker in breakers),
        )

    async def aclose(self) -> None:
        """Stops using the store; its objects stay."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})
        for guard in (self._reads, self._writes, self._sweeps):
            await guard.aclose()

    async def _opened(self) -> Store:
        if self._store is None:
            self._store = await asyncio.to_thread(self._open)
        return self._store

    async def _read(self, key: bytes) -> bytes | None:
        import obstore  # noqa: PLC0415 - an extra

        try:
            found = await obstore.get_async(await self._opened(), _name(key))
        except FileNotFoundError:
            return None
        if not _EXPIRES.size <= found.meta["size"] <= _EXPIRES.size + MAX_ENTRY_BYTES:
            return None
        content = bytes(await found.bytes_async())
        (expires,) = _EXPIRES.unpack_from(content)
        return content[_EXPIRES.size :] if expires > self._clock() else None

    async def _write(self, key: bytes, content: bytes) -> None:
        import obstore  # noqa: PLC0415 - an extra

        await obstore.put_async(await self._opened(), _name(key), content)

    async def _sweep(self) -> None:
        """Deletes the files that are older than the longest lifetime of any value."""
        import obstore  # noqa: PLC0415 - an extra
        from obstore.store import LocalStore  # noqa: PLC0415 - an extra

        store = await self._opened()
        if not isinstance(store, LocalStore):
            return
        oldest = datetime.fromtimestamp(self._clock() - self._longest_ttl, UTC)
        async for listed in obstore.list(store):
            expired = [
                item["path"]
                for item in listed
                if item["last_modified"] < oldest and _NAME.fullmatch(item["path"])
            ]
            await obstore.delete_async(store, expired)


def _faults() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

    return (BaseError, OSError, ValueError)


def _name(key: bytes) -> str:
    name = key.hex()
    return f"{name[:2]}/{name}"
