"""Two ordered structures of the fair queue: the smallest of many keys, and sums over a prefix."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Rank = tuple[float, int]
"""Compared from the left; the number decides between equals."""

_CHUNK = 64
_SPARE = 64
_AFTER_ALL = 2**62
"""Above the number of any rank."""


class Ranking:
    """Names by a rank that changes; the name with the smallest rank is found in O(log n).

    It is a heap with lazy deletion: outdated pairs are dropped when they come to the top.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, Rank] = {}
        self._heap: list[tuple[Rank, str]] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranks)

    def set(self, name: str, rank: Rank | None) -> None:
        """Sets the rank of a name; None removes the name."""
        if rank is None:
            self._ranks.pop(name, None)
        elif self._ranks.get(name) != rank:
            self._ranks[name] = rank
            heapq.heappush(self._heap, (rank, name))
        if len(self._heap) > 2 * len(self._ranks) + _SPARE:
            self._heap = [(rank, name) for name, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def first(self) -> str | None:
        """The name with the smallest rank; None when there is none."""
        while self._heap:
            rank, name = self._heap[0]
            if self._ranks.get(name) == rank:
                return name
            heapq.heappop(self._heap)
        return None


class _Chunk:
    """Keys in order, and the two values of each."""

    __slots__ = ("firsts", "keys", "seconds")

    def __init__(self, keys: list[Rank], firsts: list[float], seconds: list[float]) -> None:
        self.keys = keys
        self.firsts = firsts
        self.seconds = seconds


class PrefixSums:
    """Pairs of values by a unique key, and the sums of those up to a key.

    The keys lie in chunks of bounded length, each with its sums, so an operation looks into one
    chunk and adds up the sums of those before it. The sums of a chunk are taken anew after each
    change, so that no rounding error piles up.
    """

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._ends: list[Rank] = []
        self._first_sums: list[float] = []
        self._second_sums: list[float] = []

    @property
    def total_second(self) -> float:
        """The second sum over all keys."""
        return sum(self._second_sums)

    def add(self, key: Rank, first: float, second: float) -> None:
        """Adds a key that is not there."""
        if not self._chunks:
            self._insert(0, _Chunk([], [], []))
        place = min(bisect_left(self._ends, key), len(self._ends) - 1)
        chunk = self._chunks[place]
        at = bisect_left(chunk.keys, key)
        chunk.keys.insert(at, key)
        chunk.firsts.insert(at, first)
        chunk.seconds.insert(at, second)
        if len(chunk.keys) > 2 * _CHUNK:
            rest = _Chunk(chunk.keys[_CHUNK:], chunk.firsts[_CHUNK:], chunk.seconds[_CHUNK:])
            del chunk.keys[_CHUNK:], chunk.firsts[_CHUNK:], chunk.seconds[_CHUNK:]
            self._insert(place + 1, rest)
            self._add_up(place + 1)
        self._add_up(place)

    def remove(self, key: Rank) -> None:
        """Removes a key that is there."""
        place = bisect_left(self._ends, key)
        chunk = self._chunks[place]
        at = bisect_left(chunk.keys, key)
        del chunk.keys[at], chunk.firsts[at], chunk.seconds[at]
        if chunk.keys:
            self._add_up(place)
        else:
            del self._chunks[place], self._ends[place]
            del self._first_sums[place], self._second_sums[place]

    def up_to(self, bound: float) -> tuple[float, float]:
        """The two sums over all keys whose number is at most the bound."""
        key = (bound, _AFTER_ALL)
        place = bisect_right(self._ends, key)
        first, second = sum(self._first_sums[:place]), sum(self._second_sums[:place])
        if place < len(self._chunks):
            chunk = self._chunks[place]
            at = bisect_right(chunk.keys, key)
            first += sum(chunk.firsts[:at])
            second += sum(chunk.seconds[:at])
        return first, second

    def _insert(self, place: int, chunk: _Chunk) -> None:
        self._chunks.insert(place, chunk)
        self._ends.insert(place, (0.0, 0))
        self._first_sums.insert(place, 0.0)
        self._second_sums.insert(place, 0.0)

    def _add_up(self, place: int) -> None:
        chunk = self._chunks[place]
        self._ends[place] = chunk.keys[-1]
        self._first_sums[place] = sum(chunk.firsts)
        self._second_sums[place] = sum(chunk.seconds)
