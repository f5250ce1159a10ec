"""A confidence sequence for a quantile, exact for any continuous distribution."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import accumulate


class Quantile:
    """The interval of a quantile, such as the P99 of a latency.

    The number of observations below the true quantile is binomial, whatever the distribution; a
    beta mixture bounds how far it ever strays: Howard and Ramdas, Sequential estimation of
    quantiles with applications to A/B testing and best-arm identification, Bernoulli 2022.
    """

    def __init__(self, share: float, planned: int, alpha: float) -> None:
        """Starts without observations.

        Args:
            share: Which quantile, from above 0 to below 1.
            planned: Number of observations when a decision is expected.
            alpha: The chance that the true quantile is ever outside.
        """
        self._share = share
        self._log_limit = math.log(1 / alpha)
        self._prior = _prior(planned, self._log_limit)
        self.count = 0
        self._values: list[float] = []
        self._counts: list[int] = []

    def add(self, value: float) -> None:
        """Takes one observation; equal ones take no more memory."""
        index = bisect_left(self._values, value)
        if index == len(self._values) or self._values[index] != value:
            self._values.insert(index, value)
            self._counts.insert(index, 0)
        self._counts[index] += 1
        self.count += 1

    @property
    def estimate(self) -> float:
        """The quantile of the observations.

        Raises:
            IndexError: There are none.
        """
        return self._ranked(min(self.count - 1, int(self._share * self.count)))

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the true quantile; without a bound where it is infinite."""
        count = self.count
        if not count:
            return -math.inf, math.inf
        expected = self._share * count
        lowest = self._last(math.floor(expected), 0)
        highest = self._last(math.ceil(expected), count)
        low = self._ranked(lowest - 1) if lowest > 0 else -math.inf
        high = self._ranked(highest) if highest < count else math.inf
        return low, high

    def _ranked(self, rank: int) -> float:
        """The value that so many observations are at most, or equal to it."""
        return self._values[bisect_right([*accumulate(self._counts)], rank)]

    def _last(self, inside: int, end: int) -> int:
        """The number of observations below, towards `end`, that is not yet excluded."""
        if self._log_evidence(end) < self._log_limit:
            return end
        outside = end
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            if self._log_evidence(middle) < self._log_limit:
                inside = middle
            else:
                outside = middle
        return inside

    def _log_evidence(self, below: int) -> float:
        """The logarithm of the e-value against the share, if so many observations are below."""
        count, share = self.count, self._share
        first, second = self._prior * share, self._prior * (1 - share)
        return (
            _log_beta(first + below, second + count - below)
            - _log_beta(first, second)
            - below * math.log(share)
            - (count - below) * math.log1p(-share)
        )


def _prior(planned: int, log_limit: float) -> float:
    """Pseudo-observations of the mixture for which the interval is narrow at the planned number."""
    return planned / (2 * log_limit + math.log1p(2 * log_limit))


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
