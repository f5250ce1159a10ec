"""The population stability index of two histograms, and how large chance alone makes it.

The index sums (p - q) ln(p / q) over the bins of two distributions. Between samples of n and m
observations from one distribution it is nearly chi-square distributed, times 1/n + 1/m, with one
degree of freedom fewer than bins: Yurdakul and Naranjo, Statistical properties of the population
stability index, Journal of Risk Model Validation 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

_PRIOR = 0.5
"""Added to each bin's count (Jeffreys), so that an empty bin has a finite logarithm."""


def stability_index(expected: Sequence[int], found: Sequence[int]) -> float:
    """Returns the index of two histograms over the same bins; 0 means the same shares.

    Args:
        expected: The baseline's count of each bin.
        found: The window's.
    """
    base = sum(expected) + _PRIOR * len(expected)
    total = sum(found) + _PRIOR * len(expected)
    index = 0.0
    for before, now in zip(expected, found, strict=True):
        share, other = (before + _PRIOR) / base, (now + _PRIOR) / total
        index += (other - share) * math.log(other / share)
    return index


def chance_limit(bins: int, expected: int, found: int, alpha: float) -> float:
    """Returns the index that chance alone exceeds with probability alpha.

    Args:
        bins: Number of bins, at least 2.
        expected: Observations of the baseline, above 0.
        found: Observations of the window, above 0.
        alpha: The probability, from above 0 to 0.5.
    """
    return chi_square_quantile(bins - 1, alpha) * (1 / expected + 1 / found)


def chi_square_quantile(degrees: int, alpha: float) -> float:
    """The value that a chi-square variable exceeds with probability alpha.

    Wilson and Hilferty, The distribution of chi-square, PNAS 1931. For small alpha it errs
    upwards: by 15% for one degree of freedom and alpha 1e-6, by 1% for ten.
    """
    spread = 2 / (9 * degrees)
    normal = NormalDist().inv_cdf(1 - alpha)
    return degrees * float((1 - spread + normal * math.sqrt(spread)) ** 3)
