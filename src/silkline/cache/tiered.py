"""The tiers as one: read from the nearest that has it, written to all."""

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
"""How long closing waits for values that are still to be written."""


@dataclass(frozen=True, slots=True)
class TierSnapshot:
    """What became of a tier's reads and writes; counts are since the start.

    Attributes:
        name: The tier.
        hits: Reads that gave an answer.
        misses: Reads that gave none, corrupt and stale ones included.
        corrupt: Reads of something else than was once written under that key.
        stale: Reads of answers whose time was over, though the tier still had them.
        waiting: Writes that wait.
        dropped: Writes that were given up because too many waited.
        health: How the tier itself gets on.
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
    """Answers by key, in tiers.

    The first tier must not wait: it is read for every request and written at once. The further
    ones may, and are written behind the requests' backs. Every value is checked whichever tier it
    comes from, and carries the time of its making: being copied to a nearer tier does not make it
    younger.
    """

    def __init__(
        self,
        first: Tier,
        lower: Sequence[Tier],
        *,
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Puts the tiers together; closing this closes them.

        Args:
            first: The first tier.
            lower: The others, in the order in which they are read.
            ttl_seconds: How long an answer is good; with 0 nothing is kept.
            clock: Unix time in seconds.
        """
        self._levels = [_Level(tier, WriteBehind(tier)) for tier in (first, *lower)]
        self._ttl = ttl_seconds
        self._clock = clock

    async def get_first(self, key: bytes, *, again: bool = False) -> Answer | None:
        """The answer, if the first tier has it.

        Args:
            key: Of what is asked.
            again: Whether the same request missed it before: then a miss is not counted.
        """
        entry = await self._read(self._levels[0], key, again=again)
        return None if entry is None else entry.answer

    async def get_lower(self, key: bytes) -> Answer | None:
        """The answer, if one of the further tiers has it; the ones before get it too."""
        for index, level in enumerate(self._levels[1:], start=1):
            entry = await self._read(level, key)
            if entry is not None:
                await self._write(self._levels[:index], key, entry)
                return entry.answer
        return None

    async def put(self, key: bytes, answer: Answer) -> None:
        """Keeps an answer that was just made; does not wait for the further tiers."""
        await self._write(self._levels, key, Entry(answer, self._clock()))

    def snapshot(self) -> tuple[TierSnapshot, ...]:
        """How each tier gets on, the first one first."""
        return tuple(level.snapshot() for level in self._levels)

    async def aclose(self) -> None:
        """Writes what is still to be written, for a short time, and closes the tiers."""
        await asyncio.gather(*(level.writes.aclose(DRAIN_SECONDS) for level in self._levels))
        for level in self._levels:
            await level.tier.aclose()

    async def _read(self, level: _Level, key: bytes, *, again: bool = False) -> Entry | None:
        value = await level.tier.get(key)
        entry = None if value is None else decode_entry(key, value)
        stale = entry is not None and self._seconds_left(entry) <= 0
        if entry is not None and not stale:
            level.hits += 1
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
        # The clock of another machine, or this one's before it was set, may be ahead.
        age = max(0.0, self._clock() - entry.stored_at)
        return self._ttl - age
