"""Confidence intervals and significance tests.

Everything is exact or seeded, so the same answers always give the same report.
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
_HALVINGS = 50
_MANY = 5_000
"""With more values than this, the mean is close enough to normal to skip resampling."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% confidence interval."""

    low: float
    high: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean; for paired differences, a paired bootstrap.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. For few values the
    interval is widened as with Student's t: Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 2015, section 5.2. Equal values give an interval of width
    0, and more than 5,000 values the normal interval, both without resampling.

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
    tail = round(_NORMAL.cdf(-student(count - 1) * math.sqrt(count / (count - 1))) * RESAMPLES)
    return Interval(means[tail], means[-1 - tail])


def student(freedom: int, share: float = (1 + CONFIDENCE) / 2) -> float:
    """A quantile of Student's t, by halving.

    Args:
        freedom: Degrees of freedom, at least 1.
        share: From 0.5 to below 1.
    """
    low, high = 0.0, 1.0
    while _student_share(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _student_share(value: float, freedom: int) -> float:
    """The share of Student's t below a value that is at least 0.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(value / math.sqrt(freedom))
    cosine, is_odd = math.cos(angle), freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for number in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine * cosine * number / (number + 1)
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total
    return (1 + inside) / 2


def paired_shares(better: float, worse: float, count: float) -> Interval:
    """Interval of the difference of two shares that were measured on the same items.

    Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, Journal of Educational and Behavioral Statistics 2012. Unlike a bootstrap
    it has good coverage when few items differ, or none.

    Args:
        better: Items that only the second subject answers correctly.
        worse: Items that only the first subject answers correctly.
        count: Number of items; the effective number if they are weighted.

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
    """Wilson's score interval of a share; valid for few items and near 0 and 1.

    Wilson, Probable Inference, JASA 1927.

    Args:
        right: Number of correct items.
        count: Number of items; the effective number if they are weighted.

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

    If both subjects are equally accurate, each item that only one of them answers correctly goes to
    either side with probability 1/2. McNemar, Psychometrika 1947, with the exact binomial
    distribution instead of its approximation.

    Args:
        better: Items that only the second subject answers correctly.
        worse: Items that only the first subject answers correctly.
    """
    count = better + worse
    term = total = 1
    for index in range(min(better, worse)):
        term = term * (count - index) // (index + 1)
        total += term
    return min(1.0, 2 * total / (1 << count))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of a seeded paired randomisation test that the mean is 0.

    Under the hypothesis, each difference is equally likely to have the opposite sign. Fisher, The
    Design of Experiments, 1935. The observed signs count as one of the draws, so the value is never
    0. With more than 5,000 non-zero differences, the normal distribution replaces the draws.
    """
    sizes = [abs(difference) for difference in differences if difference]
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
    """Corrects p-values for multiple tests by Holm's method (1979); keeps their order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = highest
    return adjusted
