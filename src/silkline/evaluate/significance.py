"""What a difference between two subjects is worth.

All of it is exact or seeded, so the same answers always give the same report.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2_000
CONFIDENCE = 0.95
_NORMAL = statistics.NormalDist()
_Z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
_MANY = 5_000
"""From so many values on, the mean is as good as normal and resampling tells nothing more."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies, with a confidence of 95%."""

    low: float
    high: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean; given paired differences, a paired bootstrap.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. The percentiles lie
    further out for few values, as Student's t does: Hesterberg, What Teachers Should Know About
    the Bootstrap, The American Statistician 2015, section 5.2. Values that are all the same, and
    more than 5,000, need no resampling: those get the normal interval.

    Raises:
        ValueError: There are no values.
    """
    mean = statistics.fmean(values)
    if min(values) == max(values):
        return Interval(mean, mean)
    count = len(values)
    if count > _MANY:
        margin = _Z * statistics.stdev(values, mean) / math.sqrt(count)
        return Interval(mean - margin, mean + margin)
    rng = random.Random(seed)  # noqa: S311 - no secret
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(RESAMPLES))
    tail = round(_NORMAL.cdf(-_student(count - 1) * math.sqrt(count / (count - 1))) * RESAMPLES)
    return Interval(means[tail], means[-1 - tail])


def _student(freedom: int) -> float:
    """The 97.5% quantile of Student's t, by its expansion around the normal distribution's.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, three terms; with five
    degrees of freedom it is 1% too low.
    """
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2


def paired_shares(better: float, worse: float, count: float) -> Interval:
    """Interval of the difference of two shares that were seen on the same items.

    Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, Journal of Educational and Behavioral Statistics 2012. Unlike a bootstrap
    it covers where few items differ, or none.

    Args:
        better: Items that only the second has right.
        worse: Items that only the first has right.
        count: All items; an effective number where they have weights.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError("a difference needs at least one item")
    ups, downs = (better + 1) / (count + 2), (worse + 1) / (count + 2)
    centre = ups - downs
    margin = _Z * math.sqrt((ups + downs - centre * centre) / (count + 2))
    return Interval(max(-1.0, centre - margin), min(1.0, centre + margin))


def wilson(right: float, count: float) -> Interval:
    """Wilson's score interval of a share: sound for few items and near 0 and 1 too.

    Wilson, Probable Inference, JASA 1927.

    Args:
        right: Items that are right.
        count: All items; an effective number where they have weights.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError("a share needs at least one item")
    share, square = right / count, _Z * _Z
    centre = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    margin = _Z * spread / (1 + square / count)
    return Interval(max(0.0, centre - margin), min(1.0, centre + margin))


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    Under the hypothesis that both are right equally often, items that one has right and the other
    wrong fall to either side like a fair coin. McNemar, Psychometrika 1947, with the binomial
    distribution instead of its approximation.

    Args:
        better: Items that only the second has right.
        worse: Items that only the first has right.
    """
    count = better + worse
    term = total = 1
    for place in range(min(better, worse)):
        term = term * (count - place) // (place + 1)
        total += term
    return min(1.0, 2 * total / (1 << count))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of a paired randomisation test of the mean being 0, seeded.

    Each difference could as well have had the other sign. Fisher, The Design of Experiments, 1935;
    the observed arrangement counts as one of the drawn, so the value is never 0. With more than
    5,000 differences that are not 0, the normal distribution stands in for drawing.
    """
    sizes = [abs(one) for one in differences if one]
    if not sizes:
        return 1.0
    if len(sizes) > _MANY:
        deviation = math.sqrt(math.fsum(size * size for size in sizes))
        return math.erfc(abs(sum(differences)) / deviation / math.sqrt(2))
    observed = abs(sum(differences)) - 1e-9  # equal sums may differ in their last bit
    rng = random.Random(seed)  # noqa: S311 - no secret
    whole, count = sum(sizes), len(sizes)
    extreme = 0
    for _ in range(RESAMPLES):
        signs = format(rng.getrandbits(count), f"0{count}b")
        negative = sum(size for size, sign in zip(sizes, signs, strict=True) if sign == "1")
        extreme += abs(whole - 2 * negative) >= observed
    return (extreme + 1) / (RESAMPLES + 1)


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for being several, in their order; Holm, 1979."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = highest
    return adjusted
