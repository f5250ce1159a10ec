"""How many requests an experiment needs, told before it starts."""

from __future__ import annotations

import math
from statistics import NormalDist

from silkline.experiments.normal_mixture import information_ratio, log_evidence

_NORMAL = NormalDist()
_MAX_OBSERVATIONS = 1e12
"""More than any experiment gets."""

_PRECISION = 1.001


def fixed_observations(effect: float, deviation: float, alpha: float, power: float) -> float:
    """What a one-sided test with a single look needs.

    Args:
        effect: The difference to be found, above 0.
        deviation: Standard deviation of one observation.
        alpha: Chance of a false verdict.
        power: Chance of finding the difference.

    Returns:
        The harmonic sum of both arms' counts, as in `Difference.observations`: half of the
        observations of each of two equal arms.
    """
    errors = _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(power)
    return (errors * deviation / effect) ** 2


def likely_observations(
    effect: float, deviation: float, planned: float, alpha: float, power: float = 0.5
) -> float:
    """When the evidence of a sequential test suffices, at the latest, with this chance.

    At a power of 0.5 that is when the estimate is the true effect. More tests than that end
    before, since any look may end them.

    Args:
        effect: The true difference, above 0.
        deviation: Standard deviation of one observation.
        planned: What the test is planned for, in the same measure as the result.
        alpha: Chance of a false verdict.
        power: Chance of finding the difference.

    Returns:
        The harmonic sum of both arms' counts.
    """
    low, high = 1.0, _MAX_OBSERVATIONS
    luck = _NORMAL.inv_cdf(power)
    while high / low > _PRECISION:
        middle = math.sqrt(low * high)
        ratio = information_ratio(middle, planned, alpha)
        distance = effect * math.sqrt(middle) / deviation - luck
        enough = log_evidence(distance, ratio) >= math.log(1 / alpha)
        low, high = (low, middle) if enough else (middle, high)
    return high


def arm_counts(observations: float, share: float) -> tuple[int, int]:
    """The counts of both arms for a harmonic sum.

    Args:
        observations: The harmonic sum.
        share: The second arm's share of the traffic, from above 0 to below 1.
    """
    total = observations / (share * (1 - share))
    return math.ceil(total * (1 - share)), math.ceil(total * share)
