"""How many replicas a rate needs: the fewest with which the simulation keeps the SLO."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from silkline.plan.simulation import Fleet, simulate
from silkline.plan.traffic import Curve

TRIAL_REQUESTS = 1500
"""Requests of a trial that the cache does not answer."""

_SHORTEST, _LONGEST = 60.0, 1800.0
_MAX_FACTOR, _MAX_MORE = 4, 8
"""Up to this factor of the fewest possible replicas, and so many more, are tried."""


class Trial(msgspec.Struct, frozen=True):
    """A number of replicas under a constant rate.

    Attributes:
        replicas: How many.
        attainment: Share of all requests within the SLO, answers from the cache included.
        p99: 99th percentile of the computed answers, in seconds.
    """

    replicas: int
    attainment: float
    p99: float


def fewest_replicas(
    rate: float,
    fleet: Fleet,
    target: float,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> list[Trial]:
    """Tries rising numbers of replicas until the SLO is kept.

    Args:
        rate: Requests a second, answers from the cache included, above 0.
        fleet: The fleet; `minimum` and `maximum` are not used.
        target: Share of all requests that must be within the SLO, such as 0.99.
        on_trial: Gets each trial when it ends.

    Returns:
        All trials; the last one keeps the SLO, unless no number does.
    """
    misses = rate * (1 - fleet.hit_rate)
    seconds = min(_LONGEST, max(_SHORTEST, TRIAL_REQUESTS / misses)) if misses else _SHORTEST
    curve = Curve((0.0, seconds), (rate, rate))
    count = max(1, math.ceil(misses / fleet.times.answers_per_second()))
    maximum = _MAX_FACTOR * count + _MAX_MORE
    trials: list[Trial] = []
    while count <= maximum:
        found = simulate(curve, msgspec.structs.replace(fleet, minimum=count, maximum=count), None)
        trials.append(Trial(count, found.attainment, found.p99))
        on_trial(trials[-1])
        hopeless = fleet.times.alone() > fleet.slo and len(trials) > 1
        if found.attainment >= target or hopeless:
            break
        count += max(1, count // 8)
    return trials
