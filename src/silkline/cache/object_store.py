"""An object store that all machines share: S3, what speaks its protocol, or a folder.

It stands last and takes every answer. A rule by size was not worth its place: answers are about a
kilobyte and the longest ones take a tenth of what Redis serves well, so it would hardly ever apply,
and an answer would be looked for in two places. What an object store has over Redis is room and
life: it keeps what Redis drops for want of memory, and outlives every server. Its price is the
time of a read, paid only when all nearer tiers miss and the engine would have to compute.

An object is the Unix time when it expires, in seconds (a double, big-endian), and the value. That
number is not checked, and need not be: the value carries its age behind its checksum.
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
"""The longest that a request waits for an object."""

WRITE_SECONDS = 5.0
"""The longest that writing one takes; nobody waits for it.

It is also the time in which a connection is made and the role's keys are fetched, when these take
longer than a read may: what was missed is written soon after.
"""

SWEEP_SECONDS = 600.0
"""How often a folder is looked through for what has expired."""

_EXPIRES = struct.Struct(">d")
_NAME = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")


class ObjectTier(Tier):
    """Values as objects of an S3 bucket, or as files of a folder.

    Expired objects of a bucket are left to a lifecycle rule of the bucket; those of a folder are
    removed now and then, while values are written.
    """

    name = "objects"
    writes_at_once = 16

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Names the place; the first use opens it.

        Args:
            url: Where (see `object_link.FORMS`).
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
        """The value; None when there is none, or the store does not give it in time."""
        return None if self._closed else await self._reads.use(lambda: self._read(key))

    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Keeps a value for at most `ttl_seconds`, by this machine's clock."""
        if ttl_seconds <= 0 or self._closed:
            return
        content = _EXPIRES.pack(self._clock() + ttl_seconds) + value
        await self._writes.use(lambda: self._write(key, content))
        self._longest_ttl = max(self._longest_ttl, ttl_seconds)
        if self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_SECONDS
            self._sweeping = asyncio.create_task(self._sweeps.use(self._sweep))

    def health(self) -> TierHealth:
        """How it gets on; what the store holds is for the store to say."""
        breakers = (self._reads.breaker, self._writes.breaker)
        return TierHealth(
            degraded=any(breaker.degraded for breaker in breakers),
            errors=sum(breaker.errors for breaker in breakers),
        )

    async def aclose(self) -> None:
        """Lets go of the store; what is in it stays."""
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
        """Removes the files that were written longer ago than any value may live."""
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
