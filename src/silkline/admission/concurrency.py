"""The concurrency limit: as many requests as the engines hold, unless that makes them too slow.

A larger batch gives more answers a second, but each takes longer; where the machine gains little
from batching, a full batch can miss the SLO with every answer. The seconds that a unit of work
takes are close to a linear function of the share of taken slots (each step has a cost that all
requests share, and a cost for each request). A line is fitted to recent answers, and the share with
the most answers within the SLO is used. While all recent answers came from nearly full engines, and
were too slow, smaller shares are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ALL_IN_TIME = 0.6
"""If the usual answer takes this share of the SLO, all answers count as in time."""

NONE_IN_TIME = 1.1
"""If it takes this share of the SLO, none counts as in time; linear between the two."""

SECONDS_KEPT = 60.0
"""How long an observation is kept when it is not repeated."""

SECONDS_FRESH = 5.0
"""How long one is kept when newer observations at a lower load are fast enough."""

_STEPS = 16
_AVERAGE_WEIGHT = 0.2


@dataclass(slots=True)
class _Observation:
    """Moving average of the seconds that a unit of work took, and when it was last updated."""

    seconds: float
    at: float


class Concurrency:
    """Learns how long requests take at each load, and limits how many run at a time."""

    def __init__(self, slo: float, clock: Callable[[], float]) -> None:
        """Takes the SLO in seconds; 0 sets no limit."""
        self._slo = slo
        self._clock = clock
        self._observations: dict[int, _Observation] = {}
        self._share = 1.0

    def limit(self, slots: int) -> int:
        """How many of the slots to use."""
        return slots if self._share == 1.0 else min(slots, max(1, round(slots * self._share)))

    def note(self, taken: float, seconds: float, usual_work: float) -> None:
        """Records an answer.

        Args:
            taken: The mean share of slots that were taken while it was computed, 0 to 1.
            seconds: Seconds per unit of its work.
            usual_work: Mean work of a recent answer.
        """
        if not self._slo:
            return
        now = self._clock()
        step = max(1, round(taken * _STEPS))
        observation = self._observations.setdefault(step, _Observation(seconds, now))
        observation.seconds += _AVERAGE_WEIGHT * (seconds - observation.seconds)
        observation.at = now
        scale = usual_work / self._slo
        fast = observation.seconds * scale <= ALL_IN_TIME
        self._drop_old(step, now, fresh_above=fast)
        self._share = self._best(scale) / _STEPS

    def _drop_old(self, step: int, now: float, *, fresh_above: bool) -> None:
        """Drops old observations; with `fresh_above`, also those above `step` that are not fresh.

        It keeps at least two where it can: a line needs two points.
        """
        kept = {
            key: value
            for key, value in self._observations.items()
            if value.at >= now - SECONDS_KEPT
        }
        if fresh_above:
            fresh = {
                key: value
                for key, value in kept.items()
                if key <= step or value.at >= now - SECONDS_FRESH
            }
            kept = fresh if len(fresh) > 1 else kept
        self._observations = kept

    def _best(self, scale: float) -> int:
        """The step with the most answers in time; `scale` turns seconds into shares of the SLO."""
        shares = {step: value.seconds * scale for step, value in self._observations.items()}
        lowest = min(shares)
        if lowest > _STEPS // 2:
            return lowest * 3 // 4 if shares[max(shares)] > ALL_IN_TIME else _STEPS
        if len(shares) == 1:
            return _STEPS
        at_zero, slope = _fit_line(shares)
        if slope <= 0:
            return _STEPS

        def in_time(step: int) -> tuple[float, int]:
            share = at_zero + slope * step
            probability = (NONE_IN_TIME - share) / (NONE_IN_TIME - ALL_IN_TIME)
            return min(1.0, max(0.0, probability)) * step / share, step

        return max(range(1, _STEPS + 1), key=in_time)


def _fit_line(points: dict[int, float]) -> tuple[float, float]:
    """The least-squares line through at least two points: its value at 0, and its slope.

    Time cannot be negative; a line that is negative at 0 is replaced by one through the origin and
    the points' mean.
    """
    mean_step = sum(points) / len(points)
    mean = sum(points.values()) / len(points)
    slope = sum((step - mean_step) * value for step, value in points.items())
    slope /= sum((step - mean_step) ** 2 for step in points)
    at_zero = mean - slope * mean_step
    return (at_zero, slope) if at_zero >= 0 else (0.0, mean / mean_step)
