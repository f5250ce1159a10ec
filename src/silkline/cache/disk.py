"""The disk tier: a SQLite file on this machine, bounded in bytes, that survives restarts."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from silkline.cache.base import Tier, TierHealth
from silkline.cache.guard import Guard
from silkline.cache.sqlite_file import SqliteFile

T = TypeVar("T")

OPERATION_SECONDS = 0.25
"""How long a reader or a writer waits for the disk."""


class DiskTier(Tier):
    """Values in a file on this machine, which several processes may share.

    One thread works on the file. Reads and writes have separate circuit breakers: a full disk can
    still be read.
    """

    name = "disk"

    def __init__(
        self, path: Path, capacity_bytes: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Sets the path; the first operation opens or creates the file.

        Args:
            path: The file; its folder is created if it does not exist.
            capacity_bytes: Maximum bytes of the file.
            clock: Unix time in seconds.
        """
        self._file = SqliteFile(path, capacity_bytes, clock)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="silkline-cache-disk")
        self._reads, self._writes = (
            Guard(
                f"disk, {use}",
                faults=(sqlite3.Error, OSError),
                timeout_seconds=OPERATION_SECONDS,
            )
            for use in ("reading", "writing")
        )
        self._closed = False

    async def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none, it has expired, or the disk fails."""
        return await self._run(self._reads, lambda: self._file.get(key))

    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value; evicts the oldest ones when room is needed."""
        if ttl_seconds > 0:
            await self._run(self._writes, lambda: self._file.put(key, value, ttl_seconds))

    def health(self) -> TierHealth:
        """The tier's status; never waits."""
        return TierHealth(
            degraded=self._reads.breaker.degraded or self._writes.breaker.degraded,
            errors=self._reads.breaker.errors + self._writes.breaker.errors,
            evictions=self._file.evictions,
            bytes=self._file.bytes,
        )

    async def aclose(self) -> None:
        """Closes the file; its values stay."""
        if self._closed:
            return
        self._closed = True
        for guard in (self._reads, self._writes):
            await guard.aclose()
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=OPERATION_SECONDS)

    async def _run(self, guard: Guard, use: Callable[[], T]) -> T | None:
        if self._closed:
            return None
        loop = asyncio.get_running_loop()
        return await guard.use(lambda: loop.run_in_executor(self._thread, use))
