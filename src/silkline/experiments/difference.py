"""The difference of two arms' means: what is kept of each arm, and what it says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from silkline.experiments.normal_mixture import information_ratio, log_evidence, radius


@dataclass(slots=True)
class Moments:
    """Count, means, variances and covariance of a value and its covariate, kept one by one.

    Welford, Note on a method for calculating corrected sums of squares, Technometrics 1962.

    Attributes:
        count: Number of observations.
        mean: Mean of the values.
        covariate_mean: Mean of the covariates.
        squares: Sum of the values' squared deviations.
        covariate_squares: Sum of the covariates' squared deviations.
        products: Sum of the products of both deviations.
    """

    count: int = 0
    mean: float = 0.0
    covariate_mean: float = 0.0
    squares: float = 0.0
    covariate_squares: float = 0.0
    products: float = 0.0

    def add(self, value: float, covariate: float = 0.0) -> None:
        """Takes one observation.

        Args:
            value: What was measured.
            covariate: Something known before the arm was chosen that tells of the value, such as
                the number of image tokens of a request whose latency is the value.
        """
        self.count += 1
        gap, covariate_gap = value - self.mean, covariate - self.covariate_mean
        self.mean += gap / self.count
        self.covariate_mean += covariate_gap / self.count
        left = covariate - self.covariate_mean
        self.squares += gap * (value - self.mean)
        self.covariate_squares += covariate_gap * left
        self.products += gap * left


class Difference(NamedTuple):
    """An estimated difference.

    Attributes:
        estimate: The second arm's mean less the first's.
        standard_error: Its standard error; infinite while an arm has fewer than two observations.
        observations: The harmonic sum of both counts: 50 for two arms of 100.
    """

    estimate: float
    standard_error: float
    observations: float

    def interval(self, planned: float, alpha: float) -> tuple[float, float]:
        """The interval that holds the true difference at all times.

        Args:
            planned: `observations` when a decision is expected.
            alpha: The chance that the true difference is ever outside.
        """
        if not math.isfinite(self.standard_error):
            return -math.inf, math.inf
        ratio = information_ratio(self.observations, planned, alpha)
        half = radius(self.standard_error, ratio, alpha)
        return self.estimate - half, self.estimate + half

    def log_evidence_above(self, value: float, planned: float, alpha: float) -> float:
        """The logarithm of the e-value against "the true difference is at most this value".

        Args:
            value: The value, such as 0, or minus a margin for non-inferiority.
            planned: `observations` when a decision is expected.
            alpha: The error rate at which it is planned to decide.
        """
        if not math.isfinite(self.standard_error):
            return 0.0
        gap = self.estimate - value
        if self.standard_error == 0.0:
            return math.copysign(math.inf, gap) if gap else 0.0
        ratio = information_ratio(self.observations, planned, alpha)
        return log_evidence(gap / self.standard_error, ratio)

    def negated(self) -> Difference:
        """The first arm's mean less the second's."""
        return self._replace(estimate=-self.estimate)


def difference(first: Moments, second: Moments) -> Difference:
    """The difference of two arms' means, with the part that the covariate explains taken out.

    CUPED: Deng, Xu, Kohavi and Walker, Improving the sensitivity of online controlled experiments
    by utilizing pre-experiment data, WSDM 2013. One coefficient for both arms, so that an equal
    distribution of the covariate leaves the difference as it is. Without a covariate this is the
    plain difference.

    Args:
        first: The first arm, such as the control.
        second: The second arm.
    """
    if min(first.count, second.count) < 2:  # noqa: PLR2004 - a variance needs two
        return Difference(0.0, math.inf, 0.0)
    spread = first.covariate_squares + second.covariate_squares
    slope = (first.products + second.products) / spread if spread > 0 else 0.0
    estimate = second.mean - first.mean
    estimate -= slope * (second.covariate_mean - first.covariate_mean)
    variance = sum(_variance(arm, slope) / arm.count for arm in (first, second))
    observations = 1 / (1 / first.count + 1 / second.count)
    return Difference(estimate, math.sqrt(variance), observations)


def stratified(strata: Iterable[tuple[Moments, Moments]]) -> Difference:
    """The difference of two arms over strata, each weighted by its share of all observations.

    A stratum with fewer than two observations in an arm tells nothing and is left out: Miratrix,
    Sekhon and Yu, Adjusting treatment effect estimates by post-stratification, JRSS B 2013.

    Args:
        strata: The two arms in each stratum, such as answers from the cache and computed ones.
    """
    found = [(a.count + b.count, difference(a, b)) for a, b in strata]
    told = [(count, one) for count, one in found if math.isfinite(one.standard_error)]
    total = sum(count for count, _ in told)
    if not total:
        return Difference(0.0, math.inf, 0.0)
    return Difference(
        sum(count * one.estimate for count, one in told) / total,
        math.hypot(*(count * one.standard_error / total for count, one in told)),
        sum(one.observations for _, one in told),
    )


def _variance(arm: Moments, slope: float) -> float:
    left = arm.squares - 2 * slope * arm.products + slope * slope * arm.covariate_squares
    return max(0.0, left) / (arm.count - 1)
