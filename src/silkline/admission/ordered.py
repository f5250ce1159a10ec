"""Two ordered data structures for the fair queue: a ranking of names, and prefix sums."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Rank = tuple[float, int]
"""Compared from the left; the number breaks ties."""

_CHUNK = 64
_SPARE = 64
_AFTER_ALL = 2**62
"""Greater than the number of any rank."""


class Ranking:
    """Names with ranks that change; finds the name with the smallest rank in O(log n).

    It is a heap with lazy deletion: outdated pairs are dropped when they reach the top.
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
    """Pairs of values by a unique key, with the sums of all pairs up to a key.

    The keys are kept in chunks of bounded length, each with its sums, so an operation searches one
    chunk and adds up the sums of the chunks before it. The sums of a chunk are recomputed after
    each change, so that rounding errors do not accumulate.
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
        """Adds a key, which must not be there."""
        if not self._chunks:
            self._insert(0, _Chunk([], [], []))
        index = min(bisect_left(self._ends, key), len(self._ends) - 1)
        chunk = self._chunks[index]
        position = bisect_left(chunk.keys, key)
        chunk.keys.insert(position, key)
        chunk.firsts.insert(position, first)
        chunk.seconds.insert(position, second)
        if len(chunk.keys) > 2 * _CHUNK:
            rest = _Chunk(chunk.keys[_CHUNK:], chunk.firsts[_CHUNK:], chunk.seconds[_CHUNK:])
            del chunk.keys[_CHUNK:], chunk.firsts[_CHUNK:], chunk.seconds[_CHUNK:]
            self._insert(index + 1, rest)
            self._add_up(index + 1)
        self._add_up(index)

    def remove(self, key: Rank) -> None:
        """Removes a key, which must be there."""
        index = bisect_left(self._ends, key)
        chunk = self._chunks[index]
        position = bisect_left(chunk.keys, key)
        del chunk.keys[position], chunk.firsts[position], chunk.seconds[position]
        if chunk.keys:
            self._add_up(index)
        else:
            del self._chunks[index], self._ends[index]
            del self._first_sums[index], self._second_sums[index]

    def up_to(self, bound: float) -> tuple[float, float]:
        """The two sums over all keys whose number is at most the bound."""
        key = (bound, _AFTER_ALL)
        index = bisect_right(self._ends, key)
        first, second = sum(self._first_sums[:index]), sum(self._second_sums[:index])
        if index < len(self._chunks):
            chunk = self._chunks[index]
            position = bisect_right(chunk.keys, key)
            first += sum(chunk.firsts[:position])
            second += sum(chunk.seconds[:position])
        return first, second

    def _insert(self, index: int, chunk: _Chunk) -> None:
        self._chunks.insert(index, chunk)
        self._ends.insert(index, (0.0, 0))
        self._first_sums.insert(index, 0.0)
        self._second_sums.insert(index, 0.0)

    def _add_up(self, index: int) -> None:
        chunk = self._chunks[index]
        self._ends[index] = chunk.keys[-1]
        self._first_sums[index] = sum(chunk.firsts)
        self._second_sums[index] = sum(chunk.seconds)
