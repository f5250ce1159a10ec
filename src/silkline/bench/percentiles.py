"""Nearest-rank percentiles, and the confidence interval of a ratio by bootstrap."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence

import msgspec

_RESAMPLES = 2000
_LOW, _HIGH = 0.025, 0.975
FEWEST_PAIRS = 3
"""Minimum number of pairs for a bootstrap interval."""


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 if empty.

    The nearest-rank method: the result is always a measured value.
    """
    return ranked(sorted(values), share)


def ranked(ordered: Sequence[float], share: float) -> float:
    """`percentile` of values that are already sorted."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, int(rank) - 1)]


class Ratio(msgspec.Struct, frozen=True):
    """A ratio; `low` and `high` bound its 95% interval, None if there are too few pairs."""

    value: float
    low: float | None = None
    high: float | None = None


def paired_ratio(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """The geometric mean of the pairs' ratios, with its 95% bootstrap interval over the pairs.

    Pairs with a value of 0 or less are ignored; None if no pair is left.
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
