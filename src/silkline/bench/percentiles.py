"""Percentiles by the nearest rank, and the spread of a ratio by bootstrap."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence

import msgspec

_RESAMPLES = 2000
_LOW, _HIGH = 0.025, 0.975
FEWEST_PAIRS = 3
"""With fewer pairs there is nothing to resample."""


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that at least this share of the values does not exceed; 0 without values.

    The nearest-rank method: it only ever names values that were measured.
    """
    return ranked(sorted(values), share)


def ranked(ordered: Sequence[float], share: float) -> float:
    """`percentile` of values that are in order already."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, int(rank) - 1)]


class Ratio(msgspec.Struct, frozen=True):
    """How many times something is; `low` and `high` bound the 95% interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def paired_ratio(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """The geometric mean of the pairs' ratios, with its 95% bootstrap interval over the pairs.

    Pairs in which one is not above 0 say nothing and are left out; None when none is left.
    """
    logs = [math.log(one / other) for one, other in pairs if one > 0 and other > 0]
    if not logs:
        return None
    value = math.exp(statistics.fmean(logs))
    if len(logs) < FEWEST_PAIRS:
        return Ratio(value)
    chance = random.Random(len(logs))  # noqa: S311 - the same interval for the same data
    means = sorted(statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    return Ratio(value, math.exp(ranked(means, _LOW)), math.exp(ranked(means, _HIGH)))
