"""Means of bounded observations, exact for any number of them and any distribution."""

from __future__ import annotations

import math

_MAX_BET = 0.5
_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""What is bet on each observation, as shares of the highest bet that can't lose everything."""


class BoundedMean:
    """A confidence sequence for the mean of bounded observations.

    The predictable plug-in empirical Bernstein sequence: Waudby-Smith and Ramdas, Estimating means
    of bounded random variables by betting, JRSS B 2024, theorem 2. The interval never grows.
    """

    def __init__(self, alpha: float, low: float = 0.0, high: float = 1.0) -> None:
        """Starts without observations.

        Args:
            alpha: The chance that the true mean is ever outside of the interval.
            low: Lowest possible observation.
            high: Highest possible observation.
        """
        self._log_odds = math.log(2 / alpha)
        self._low, self._width = low, high - low
        self._count = 0
        self._sum, self._squares = 0.5, 0.25  # as if half an observation had been there
        self._bets = self._weighted = self._cost = 0.0
        self._interval = (0.0, 1.0)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the true mean."""
        low, high = self._interval
        return self._low + low * self._width, self._low + high * self._width

    def add(self, value: float) -> None:
        """Takes one observation.

        Raises:
            ValueError: It is out of bounds.
        """
        scaled = (value - self._low) / self._width
        if not 0 <= scaled <= 1:
            raise ValueError(f"{value} is not from {self._low} to {self._low + self._width}")
        mean, variance = self._sum / (self._count + 1), self._squares / (self._count + 1)
        self._count += 1
        number = self._count
        bet = math.sqrt(2 * self._log_odds / (variance * number * math.log1p(number)))
        bet = min(bet, _MAX_BET)
        self._bets += bet
        self._weighted += bet * scaled
        self._cost += (scaled - mean) ** 2 * (-math.log1p(-bet) - bet)
        self._sum += scaled
        self._squares += (scaled - self._sum / (number + 1)) ** 2
        centre, half = self._weighted / self._bets, (self._log_odds + self._cost) / self._bets
        low, high = self._interval
        self._interval = (max(low, centre - half), min(high, centre + half))


class AboveBound:
    """An e-process against "the mean is at most this bound", of observations from 0 to 1.

    Capital that is bet on the mean being higher, averaged over several sizes of bets: the same
    paper, section 4. If the mean is at most the bound, the chance that the evidence ever exceeds
    log(1 / alpha) is at most alpha. It needs no variance and no large number, so it suits rare
    events: failures, refusals, answers later than the limit.
    """

    def __init__(self, bound: float) -> None:
        """Starts without observations; `bound` is from above 0 to below 1."""
        self._bound = bound
        self._bets = tuple(share / bound for share in _SHARES)
        self._capitals = [0.0] * len(_SHARES)

    @property
    def log_evidence(self) -> float:
        """The logarithm of the e-value."""
        highest = max(self._capitals)
        total = sum(math.exp(capital - highest) for capital in self._capitals)
        return highest + math.log(total / len(self._capitals))

    def needed(self, alpha: float) -> float:
        """How many observations suffice for a verdict, if each of them is 1."""
        largest = math.log1p(max(self._bets) * (1 - self._bound))
        return (math.log(1 / alpha) + math.log(len(self._bets))) / largest

    def add(self, value: float) -> None:
        """Takes one observation, from 0 to 1."""
        gain = value - self._bound
        for index, bet in enumerate(self._bets):
            self._capitals[index] += math.log1p(bet * gain)
