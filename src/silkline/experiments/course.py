"""How the evidence of an experiment went: its confidence sequences, kept as it grows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from silkline.config.experiments import ExperimentSettings
from silkline.experiments.assignment import Arm
from silkline.experiments.bounded import BoundedMean
from silkline.experiments.difference import Difference
from silkline.experiments.quantile import Quantile
from silkline.experiments.tally import Observation, Tally
from silkline.experiments.verdict import MIN_OBSERVATIONS

_MAX_POINTS = 240
_TAIL = 0.99
_ROUNDING = 0.01
"""Latencies are rounded to this share for the P99, so that few values differ."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds the true value at all times."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """What was known after some number of requests.

    Attributes:
        requests: Requests of control and candidate.
        at: Unix time in seconds.
        share: The candidate's share.
        failures: The candidate's share of failed requests.
        latency: The candidate's latency over the control's; None while there are too few requests.
        gain: The candidate's mean reward less the control's; the same.
    """

    requests: int
    at: float
    share: float
    failures: Interval
    latency: Interval | None
    gain: Interval | None


class Course:
    """The points of an experiment: at most some hundreds, evenly by requests."""

    def __init__(self, settings: ExperimentSettings, tally: Tally) -> None:
        """Starts empty; `tally` is the experiment's."""
        self._settings = settings
        self._tally = tally
        self._failures = BoundedMean(settings.error_rate)
        self._tails = {
            arm: Quantile(_TAIL, settings.planned_requests // 2, settings.error_rate)
            for arm in (Arm.CONTROL, Arm.CANDIDATE)
        }
        self._points: list[Point] = []
        self._every = 1
        self._last = (0.0, 0.0)

    def add(self, seen: Observation, share: float) -> None:
        """Takes a request that is in the tally, and the candidate's share of that time."""
        if seen.arm is Arm.CANDIDATE:
            self._failures.add(float(seen.failed))
        if not seen.failed and seen.seconds > 0:
            rounded = math.exp(_ROUNDING * round(math.log(seen.seconds) / _ROUNDING))
            self._tails[seen.arm].add(rounded)
        self._last = seen.at, share
        if self._tally.compared % self._every:
            return
        self._points.append(self._point())
        if len(self._points) >= _MAX_POINTS:
            self._points = self._points[1::2]
            self._every *= 2

    def shown(self) -> list[dict[str, Any]]:
        """The points as plain values, oldest first; the last is of now."""
        points = [one for one in self._points if one.requests < self._tally.compared]
        if self._tally.compared:
            points.append(self._point())
        return [asdict(one) for one in points]

    def now(self) -> dict[str, Interval]:
        """What is known now, by metric; without those that have too few requests."""
        point = self._point()
        found = {"failures": point.failures, "latency": point.latency, "gain": point.gain}
        return {name: one for name, one in found.items() if one is not None}

    def tails(self) -> dict[str, dict[str, float | None]]:
        """The P99 of each arm's latency in seconds, to 1%, with its interval; None is no bound."""
        found = {}
        for arm, tail in self._tails.items():
            if tail.count:
                low, high = tail.interval
                bounds = [one if math.isfinite(one) else None for one in (low, high)]
                found[arm.value] = {"estimate": tail.estimate, "low": bounds[0], "high": bounds[1]}
        return found

    @property
    def failures(self) -> Interval:
        """The candidate's share of failed requests."""
        count = self._tally.requests(Arm.CANDIDATE)
        low, high = self._failures.interval
        return Interval(self._tally.failures(Arm.CANDIDATE) / max(1, count), low, high)

    def _point(self) -> Point:
        at, share = self._last
        latency = self._interval(self._tally.latency)
        ratio = latency and Interval(*map(math.exp, (latency.estimate, latency.low, latency.high)))
        gain = self._interval(self._tally.gain)
        return Point(self._tally.compared, at, share, self.failures, ratio, gain)

    def _interval(self, found: Difference) -> Interval | None:
        """The interval; none before it is valid."""
        if found.observations < MIN_OBSERVATIONS:
            return None
        settings = self._settings
        low, high = found.interval(settings.planned_observations, settings.error_rate)
        return Interval(found.estimate, low, high) if math.isfinite(low) else None
