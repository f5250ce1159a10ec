"""How many requests at once: all that the engines hold, unless that makes each of them too slow.

A larger batch gives more answers a second, but each takes longer; where the machine has little to
gain from batching, a full batch can miss the SLO with every single answer. The seconds that a unit
of work takes are close to a line over the share of places that are taken (a step has a part that
all share and a part for each). The line is fitted to what was seen of late, and the share is chosen
that gives the most answers within the SLO. While only full engines were seen, and they were too
slow, smaller shares are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SURE = 0.6
"""Answers that usually take this part of the SLO are all in time."""

HOPELESS = 1.1
"""Answers that usually take this part of the SLO are none in time; between the two it is a line."""

SECONDS_KEPT = 60.0
"""For how long it is believed what was not seen since."""

SECONDS_FRESH = 5.0
"""How soon it is doubted, where all that was seen since is fast enough."""

_STEPS = 16
_MEMORY = 0.2


@dataclass(slots=True)
class _Seen:
    """Seconds that a unit of work took, and when that was last seen."""

    seconds: float
    at: float


class Concurrency:
    """Learns how long requests take in company."""

    def __init__(self, slo: float, clock: Callable[[], float]) -> None:
        """Limits nothing with an `slo` of 0."""
        self._slo = slo
        self._clock = clock
        self._seen: dict[int, _Seen] = {}
        self._share = 1.0

    def limit(self, places: int) -> int:
        """How many of the places to use."""
        return places if self._share == 1.0 else min(places, max(1, round(places * self._share)))

    def note(self, taken: float, seconds: float, usual_work: float) -> None:
        """Takes an answer.

        Args:
            taken: The share of places that were taken on average while it was computed, 0 to 1.
            seconds: What a unit of its work took.
            usual_work: Of late, of an answer.
        """
        if not self._slo:
            return
        now = self._clock()
        step = max(1, round(taken * _STEPS))
        seen = self._seen.setdefault(step, _Seen(seconds, now))
        seen.seconds += _MEMORY * (seconds - seen.seconds)
        seen.at = now
        scale = usual_work / self._slo
        self._forget(step, now, doubt=seen.seconds * scale <= SURE)
        self._share = self._best(scale) / _STEPS

    def _forget(self, step: int, now: float, *, doubt: bool) -> None:
        """Drops what is old; with `doubt` also what is not fresh, of steps above the one given."""
        kept = {one: seen for one, seen in self._seen.items() if seen.at >= now - SECONDS_KEPT}
        if doubt:
            fresh = {
                one: seen
                for one, seen in kept.items()
                if one <= step or seen.at >= now - SECONDS_FRESH
            }
            kept = fresh if len(fresh) > 1 else kept
        self._seen = kept

    def _best(self, scale: float) -> int:
        """The step with the most answers in time; `scale` makes seconds to parts of the SLO."""
        parts = {step: seen.seconds * scale for step, seen in self._seen.items()}
        fewest = min(parts)
        if fewest > _STEPS // 2:
            return fewest * 3 // 4 if parts[max(parts)] > SURE else _STEPS
        if len(parts) == 1:
            return _STEPS
        alone, each = _line(parts)
        if each <= 0:
            return _STEPS

        def in_time(step: int) -> tuple[float, int]:
            part = alone + each * step
            sure = (HOPELESS - part) / (HOPELESS - SURE)
            return min(1.0, max(0.0, sure)) * step / part, step

        return max(range(1, _STEPS + 1), key=in_time)


def _line(seen: dict[int, float]) -> tuple[float, float]:
    """The least-squares line through at least two points: its value at 0, and its slope.

    Time cannot be negative; a line that is so at 0 is laid through the origin and the points' mean.
    """
    middle = sum(seen) / len(seen)
    mean = sum(seen.values()) / len(seen)
    slope = sum((step - middle) * value for step, value in seen.items())
    slope /= sum((step - middle) ** 2 for step in seen)
    at_zero = mean - slope * middle
    return (at_zero, slope) if at_zero >= 0 else (0.0, mean / middle)
