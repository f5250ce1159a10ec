"""The memory tier: a cache in this process with S3-FIFO eviction, bounded in bytes.

Most images of a shop are requested once, a few of them again and again. S3-FIFO fits that: a new
value enters a small queue, and most values are evicted at its end; those that were read meanwhile
move to the main queue, and are reinserted there as long as they are read. A value that returns soon
after it left the small queue goes to the main queue at once. Each step takes constant time.

J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi: "FIFO Queues are All You Need for Cache Eviction",
SOSP 2023, https://doi.org/10.1145/3600006.3613147. Here one read is enough to be kept (two, in the
paper's listing), which was better on Zipf-like traffic. LRU is a little better only where all
popular values change at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from silkline.cache.base import Tier, TierHealth

SMALL_SHARE = 0.1
"""The small queue's share of the capacity."""

MAX_READS = 3
"""Maximum reads that are counted between two visits to the end of the queue."""

ENTRY_OVERHEAD_BYTES = 350
"""Bytes per value besides its content: its key, its record and its entry in a queue."""

GHOST_BYTES = 150
"""Bytes per remembered key of an evicted value."""


@dataclass(slots=True)
class _Item:
    value: bytes
    expires: float
    reads: int = 0

    @property
    def size(self) -> int:
        return len(self.value) + ENTRY_OVERHEAD_BYTES


class _Queue(OrderedDict[bytes, _Item]):
    """Items, oldest first, with their total size."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def add(self, key: bytes, item: _Item) -> None:
        self[key] = item
        self.bytes += item.size

    def take(self, key: bytes) -> _Item:
        item = self.pop(key)
        self.bytes -= item.size
        return item

    def take_oldest(self) -> tuple[bytes, _Item]:
        key = next(iter(self))
        return key, self.take(key)


class MemoryTier(Tier):
    """Values in this process. `get` and `put` never wait."""

    name = "memory"

    def __init__(self, capacity_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Creates an empty tier.

        Args:
            capacity_bytes: Maximum bytes of values, records and remembered keys; 0 stores nothing.
            clock: Monotonic seconds.
        """
        self._capacity = capacity_bytes
        self._clock = clock
        self._small = _Queue()
        self._main = _Queue()
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._evictions = 0

    async def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none or it has expired."""
        queue = self._small if key in self._small else self._main
        item = queue.get(key)
        if item is None:
            return None
        if item.expires <= self._clock():
            queue.take(key)
            return None
        item.reads = min(item.reads + 1, MAX_READS)
        return item.value

    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value, unless it is larger than the small queue."""
        if ttl_seconds <= 0:
            return
        item = _Item(value, self._clock() + ttl_seconds)
        queue = self._main if key in self._ghosts else self._small
        self._ghosts.pop(key, None)
        for older in (self._small, self._main):
            if key in older:
                item.reads = older.take(key).reads
                queue = older
        if item.size > self._capacity * SMALL_SHARE:
            return
        queue.add(key, item)
        while self._bytes > self._capacity:
            self._make_room()

    def health(self) -> TierHealth:
        """The tier's status; memory never fails."""
        return TierHealth(
            evictions=self._evictions,
            entries=len(self._small) + len(self._main),
            bytes=self._bytes,
        )

    async def aclose(self) -> None:
        """Drops all values."""
        for queue in (self._small, self._main):
            queue.clear()
            queue.bytes = 0
        self._ghosts.clear()

    @property
    def _bytes(self) -> int:
        return self._small.bytes + self._main.bytes + len(self._ghosts) * GHOST_BYTES

    def _make_room(self) -> None:
        """Takes one eviction step."""
        if len(self._ghosts) > len(self._small) + len(self._main):
            self._ghosts.popitem(last=False)
        elif self._small.bytes > self._capacity * SMALL_SHARE or not self._main:
            self._leave_small()
        else:
            self._leave_main()

    def _leave_small(self) -> None:
        key, item = self._small.take_oldest()
        if item.expires <= self._clock():
            return
        if item.reads:
            item.reads = 0
            self._main.add(key, item)
            return
        self._evictions += 1
        self._ghosts[key] = None

    def _leave_main(self) -> None:
        key, item = self._main.take_oldest()
        if item.expires <= self._clock():
            return
        if item.reads:
            item.reads -= 1
            self._main.add(key, item)
            return
        self._evictions += 1
