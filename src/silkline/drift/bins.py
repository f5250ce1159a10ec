"""Bins of a feature, which its baseline chooses: ranges of numbers, or categories."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

Value = float | str
"""A feature's value: a number, or a category."""

ABSENT = "(absent)"
"""The category of an answer that lacks a field."""

_RANGES = 10


class Ranges(msgspec.Struct, frozen=True, tag="ranges"):
    """Ranges of numbers.

    Attributes:
        edges: Where a range ends and the next one begins, ascending.
    """

    edges: tuple[float, ...]

    @property
    def names(self) -> list[str]:
        """What each bin holds, in words."""
        written = [f"{edge:.6g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(written)]
        return [f"below {written[0]}", *between, f"above {written[-1]}"]

    def index(self, value: Value) -> int:
        """The index of a value's bin."""
        return bisect_right(self.edges, float(value))


class Categories(msgspec.Struct, frozen=True, tag="categories"):
    """Categories, and a last bin for all others.

    Attributes:
        values: The categories by the index of their bin.
    """

    values: dict[str, int]

    @property
    def names(self) -> list[str]:
        """What each bin holds, in words."""
        return [*self.values, "(other)"]

    def index(self, value: Value) -> int:
        """The index of a value's bin."""
        return self.values.get(str(value), len(self.values))


Bins = Ranges | Categories


def ranges(values: Sequence[float]) -> Ranges:
    """Returns ranges of about equally many values, and one below and one above all of them.

    Args:
        values: At least one number.
    """
    ordered = sorted(values)
    last = len(ordered) - 1
    edges = {ordered[round(last * step / _RANGES)] for step in range(_RANGES)}
    return Ranges((*sorted(edges), math.nextafter(ordered[-1], math.inf)))


def categories(values: Sequence[str], limit: int) -> Categories:
    """Returns the most frequent values as categories, at most `limit`."""
    found = Counter(values).most_common(limit)
    return Categories({name: index for index, (name, _) in enumerate(found)})
