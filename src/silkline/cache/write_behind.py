"""Writes to a tier in the background."""

from __future__ import annotations

import asyncio
from collections import deque

from silkline.cache.base import Tier

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Maximum bytes of pending values; further ones are dropped."""


class WriteBehind:
    """The pending writes of a tier.

    Attributes:
        dropped: Values that were not written because too many were pending.
    """

    def __init__(self, tier: Tier) -> None:
        """Takes the tier to write to; does not close it."""
        self.dropped = 0
        self._tier = tier
        self._waiting: deque[tuple[bytes, bytes, float]] = deque()
        self._bytes = 0
        self._tasks: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        """Number of pending values."""
        return len(self._waiting)

    def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Queues a value to be written."""
        if self._bytes + len(value) > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting.append((key, value, ttl_seconds))
        self._bytes += len(value)
        self._tasks = [task for task in self._tasks if not task.done()]
        if len(self._tasks) < self._tier.writes_at_once:
            self._tasks.append(asyncio.create_task(self._write()))

    async def aclose(self, seconds: float) -> None:
        """Finishes pending writes, for at most this many seconds."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _write(self) -> None:
        while self._waiting:
            key, value, ttl_seconds = self._waiting.popleft()
            self._bytes -= len(value)
            await self._tier.put(key, value, ttl_seconds)
