"""The tiered cache: reads the tiers in order, and writes to all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from silkline.cache.base import Tier, TierHealth
from silkline.cache.entry import Entry, decode_entry, encode_entry
from silkline.cache.write_behind import WriteBehind
from silkline.core import Answer

DRAIN_SECONDS = 2.0
"""How long closing waits for pending writes."""

OnHit = Callable[[str, float], None]
"""Called with a tier's name and the age of the answer that it returned, in seconds."""


def ignore_hit(_tier: str, _age_seconds: float) -> None:
    """Does nothing with a hit."""


@dataclass(frozen=True, slots=True)
class TierSnapshot:
    """A tier's status and counts of its reads and writes since the start.

    Attributes:
        name: The tier's name.
        hits: Reads that returned an answer.
        misses: Reads that returned none, including corrupt and stale ones.
        corrupt: Reads of a value that was not stored under that key, or was altered.
        stale: Reads of answers that had expired, though the tier still had them.
        waiting: Pending writes.
        dropped: Writes that were dropped because too many were pending.
        health: The tier's own status.
    """

    name: str
    hits: int
    misses: int
    corrupt: int
    stale: int
    waiting: int
    dropped: int
    health: TierHealth


@dataclass(slots=True)
class _Level:
    """A tier and its counts."""

    tier: Tier
    writes: WriteBehind
    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    stale: int = 0

    def snapshot(self) -> TierSnapshot:
        return TierSnapshot(
            name=self.tier.name,
            hits=self.hits,
            misses=self.misses,
            corrupt=self.corrupt,
            stale=self.stale,
            waiting=len(self.writes),
            dropped=self.writes.dropped,
            health=self.tier.health(),
        )


class TieredCache:
    """Answers by key, in several tiers.

    The first tier must not wait: it is read for every request and written synchronously. The lower
    tiers may wait, and are written in the background. Every value is checked, whichever tier it
    comes from, and contains the time when it was computed: copying it to another tier does not
    extend its lifetime.
    """

    def __init__(
        self,
        first: Tier,
        lower: Sequence[Tier],
        *,
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
        on_hit: OnHit = ignore_hit,
    ) -> None:
        """Combines the tiers; closing this closes them.

        Args:
            first: The first tier.
            lower: The other tiers, in the order in which they are read.
            ttl_seconds: The lifetime of an answer; 0 stores nothing.
            clock: Unix time in seconds.
            on_hit: Called for each answer that a tier returns.
        """
        self._levels = [_Level(tier, WriteBehind(tier)) for tier in (first, *lower)]
        self._ttl = ttl_seconds
        self._clock = clock
        self._on_hit = on_hit

    async def get_first(self, key: bytes, *, again: bool = False) -> Answer | None:
        """The answer, if the first tier has it.

        Args:
            key: The key of the answer.
            again: Whether the same request already missed it: then a miss is not counted again.
        """
        entry = await self._read(self._levels[0], key, again=again)
        return None if entry is None else entry.answer

    async def get_lower(self, key: bytes) -> Answer | None:
        """The answer, if one of the lower tiers has it; copies it to the tiers before that one."""
        for index, level in enumerate(self._levels[1:], start=1):
            entry = await self._read(level, key)
            if entry is not None:
                await self._write(self._levels[:index], key, entry)
                return entry.answer
        return None

    async def put(self, key: bytes, answer: Answer) -> None:
        """Stores an answer that was just computed; does not wait for the lower tiers."""
        await self._write(self._levels, key, Entry(answer, self._clock()))

    def snapshot(self) -> tuple[TierSnapshot, ...]:
        """The status of each tier, in the order in which they are read."""
        return tuple(level.snapshot() for level in self._levels)

    async def aclose(self) -> None:
        """Finishes pending writes, for at most `DRAIN_SECONDS`, and closes the tiers."""
        await asyncio.gather(*(level.writes.aclose(DRAIN_SECONDS) for level in self._levels))
        for level in self._levels:
            await level.tier.aclose()

    async def _read(self, level: _Level, key: bytes, *, again: bool = False) -> Entry | None:
        value = await level.tier.get(key)
        entry = None if value is None else decode_entry(key, value)
        stale = entry is not None and self._seconds_left(entry) <= 0
        if entry is not None and not stale:
            level.hits += 1
            self._on_hit(level.tier.name, self._age(entry))
            return entry
        if not again:
            level.misses += 1
            level.stale += stale
            level.corrupt += value is not None and not stale
        return None

    async def _write(self, levels: Sequence[_Level], key: bytes, entry: Entry) -> None:
        seconds = self._seconds_left(entry)
        value = encode_entry(key, entry)
        if value is None or seconds <= 0:
            return
        for level in levels:
            if level is self._levels[0]:
                await level.tier.put(key, value, seconds)
            else:
                level.writes.put(key, value, seconds)

    def _seconds_left(self, entry: Entry) -> float:
        return self._ttl - self._age(entry)

    def _age(self, entry: Entry) -> float:
        # The entry's time may be in the future: written by a clock that was ahead.
        return max(0.0, self._clock() - entry.stored_at)
