"""The process's own memory: S3-FIFO, bounded in bytes.

Most pictures of a shop are asked for once, few of them again and again. S3-FIFO fits that: a value
comes into a small queue, where most leave after one round; those that were read meanwhile move to
the main queue, and there go round again as long as they are read. A value that comes back soon
after it left the small queue goes to the main queue at once. Each step takes constant time.

J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi: "FIFO Queues are All You Need for Cache Eviction",
SOSP 2023, https://doi.org/10.1145/3600006.3613147. Here one read is enough to be kept (two, in the
paper's listing), which was better on Zipf-like traffic. LRU is a little better only where all
that is popular changes at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from silkline.cache.base import Tier, TierHealth

SMALL_SHARE = 0.1
"""The part of the capacity in which values wait to be read for the first time."""

MAX_READS = 3
"""More reads than this between two visits of the queue's end do not count."""

ENTRY_OVERHEAD_BYTES = 350
"""What a value takes besides its own bytes: its key, its record and its place in a queue."""

GHOST_BYTES = 150
"""What it takes to remember a key."""


@dataclass(slots=True)
class _Item:
    value: bytes
    expires: float
    reads: int = 0

    @property
    def size(self) -> int:
        return len(self.value) + ENTRY_OVERHEAD_BYTES


class _Queue(OrderedDict[bytes, _Item]):
    """Items, oldest first, and what they take."""

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
        """Makes an empty tier.

        Args:
            capacity_bytes: Most bytes that values, records and remembered keys take; with 0
                nothing is kept.
            clock: Seconds that never go back.
        """
        self._capacity = capacity_bytes
        self._clock = clock
        self._small = _Queue()
        self._main = _Queue()
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._evictions = 0

    async def get(self, key: bytes) -> bytes | None:
        """The value; None when there is none or its time is over."""
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
        """Keeps a value; one that is larger than the small queue is not taken."""
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
        """How it gets on; memory does not fail."""
        return TierHealth(
            evictions=self._evictions,
            entries=len(self._small) + len(self._main),
            bytes=self._bytes,
        )

    async def aclose(self) -> None:
        """Drops everything."""
        for queue in (self._small, self._main):
            queue.clear()
            queue.bytes = 0
        self._ghosts.clear()

    @property
    def _bytes(self) -> int:
        return self._small.bytes + self._main.bytes + len(self._ghosts) * GHOST_BYTES

    def _make_room(self) -> None:
        """Takes one step towards a smaller cache."""
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
