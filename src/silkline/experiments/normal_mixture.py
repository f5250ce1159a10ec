"""Evidence about an estimate that is nearly normal, valid however often it is looked at.

Robbins' normal mixture with an estimated variance: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics 2024. It
holds for many observations; callers wait for some before they look at it.

Everything here depends on two numbers: how many standard errors an estimate lies from a value, and
the ratio of the information so far to the mixture's own. `information_ratio` chooses that so that
the intervals are narrowest at the planned number of observations.
"""

from __future__ import annotations

import math

_HALF = math.sqrt(0.5)
_LOG_2 = math.log(2)
_FAR = -8.0
"""Standard errors below which the tail of the normal distribution is taken by its expansion."""


def information_ratio(observations: float, planned: float, alpha: float) -> float:
    """The ratio of the information so far to the mixture's own.

    Howard, Ramdas, McAuliffe and Sekhon, Time-uniform, nonparametric, nonasymptotic confidence
    sequences, Annals of Statistics 2021, section 3.5: the ratio that is best at the planned number.

    Args:
        observations: How many there are, above 0.
        planned: How many there will be when a decision is expected, above 0.
        alpha: The error rate, from above 0 to below 1.
    """
    doubled = 2 * math.log(1 / alpha)
    return (doubled + math.log1p(doubled)) * observations / planned


def radius(standard_error: float, ratio: float, alpha: float) -> float:
    """Half the width of the interval that covers the true value at all times.

    Args:
        standard_error: Of the estimate, at least 0.
        ratio: By `information_ratio`.
        alpha: The chance that the true value is ever outside.
    """
    return standard_error * math.sqrt((1 + 1 / ratio) * (math.log1p(ratio) - 2 * math.log(alpha)))


def log_evidence(distance: float, ratio: float) -> float:
    """The logarithm of the e-value against "the true value is not above this one".

    The mixture is half normal, so only estimates above the value count as evidence. The chance that
    it ever exceeds log(1 / alpha) is at most alpha if the true value is not above.

    Args:
        distance: The estimate less the value, in standard errors.
        ratio: By `information_ratio`.
    """
    shrunk = ratio / (1 + ratio)
    return (
        _LOG_2
        + (distance * distance * shrunk - math.log1p(ratio)) / 2
        + _log_normal_share(distance * math.sqrt(shrunk))
    )


def _log_normal_share(value: float) -> float:
    """The logarithm of the standard normal distribution function."""
    if value > _FAR:
        return math.log(math.erfc(-value * _HALF) / 2)
    square = value * value  # Abramowitz and Stegun, 26.2.12
    return -square / 2 - math.log(-value * math.sqrt(2 * math.pi)) + math.log1p(-1 / square)
