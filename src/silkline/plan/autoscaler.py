"""Policies of autoscaling: from what a fleet shows to how many replicas it should have.

All follow the rule of Kubernetes' HorizontalPodAutoscaler: the number of replicas times a metric
over its target, rounded up; no change within 10% of the target; the number at most doubles, or
grows by four, in one step; and it shrinks only to the largest number wanted in the last 5 minutes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

SYNC_SECONDS = 15.0
"""Time between two decisions."""

TOLERANCE = 0.1
STABLE_SECONDS = 300.0
_MAX_STEP = 4
_TREND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Signals:
    """What a fleet showed since the last decision.

    Attributes:
        at: The time, in seconds.
        serving: Replicas that serve.
        busy: Mean share of the time in which an engine had work, 0 to 1.
        saturation: Requests that run or wait, over the slots of the replicas that serve; it rises
            above 1.
        offered: Work that arrived, refused requests included, over the work that the replicas that
            serve can do in that time.
        slope: How much `offered`, in replicas, rises a second.
    """

    at: float
    serving: int
    busy: float
    saturation: float
    offered: float
    slope: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A metric and its target.

    Attributes:
        name: Its name in reports.
        about: The metric, in words.
        target: The value at which the number of replicas is right.
        metric: The metric; gets the signals and the seconds that a replica takes to start.
    """

    name: str
    about: str
    target: float
    metric: Callable[[Signals, float], float]


def _ahead(signals: Signals, start_seconds: float) -> float:
    """Work that will be offered when a replica that is started now serves."""
    rise = max(0.0, signals.slope) * (start_seconds + SYNC_SECONDS)
    return signals.offered + rise / max(1, signals.serving)


POLICIES = (
    Policy("cpu", "busy share of the engines, 70%", 0.7, lambda signals, _: signals.busy),
    Policy(
        "queue", "running and waiting requests over slots, 0.5", 0.5,
        lambda signals, _: signals.saturation,
    ),
    Policy(
        "tokens", "tokens offered over what the replicas can do, 60%", 0.6,
        lambda signals, _: max(signals.offered, signals.saturation),
    ),
    Policy(
        "predictive", "the same, at the time when a new replica serves", 0.6,
        lambda signals, start: max(_ahead(signals, start), signals.saturation),
    ),
)  # fmt: skip


@dataclass(slots=True)
class Autoscaler:
    """Decides for one policy.

    Attributes:
        policy: The policy.
        minimum: Fewest replicas.
        maximum: Most replicas.
        start_seconds: Seconds that a replica takes to start.
    """

    policy: Policy
    minimum: int
    maximum: int
    start_seconds: float
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _loads: deque[tuple[float, float]] = field(default_factory=deque)

    def decide(self, signals: Signals, replicas: int) -> int:
        """How many replicas there should be, given those that serve or start."""
        ratio = self.policy.metric(self._with_slope(signals), self.start_seconds)
        ratio /= self.policy.target
        wanted = replicas
        if abs(ratio - 1.0) > TOLERANCE:
            wanted = math.ceil(max(1, signals.serving) * ratio)
        wanted = min(wanted, max(2 * replicas, replicas + _MAX_STEP))
        wanted = max(self.minimum, min(self.maximum, wanted))
        self._wanted.append((signals.at, wanted))
        while self._wanted[0][0] < signals.at - STABLE_SECONDS:
            self._wanted.popleft()
        highest = max(count for _, count in self._wanted)
        return wanted if wanted >= replicas else min(replicas, highest)

    def _with_slope(self, signals: Signals) -> Signals:
        """Adds the rise of the offered load, in replicas a second, over two minutes."""
        load = signals.offered * signals.serving
        self._loads.append((signals.at, load))
        while self._loads[0][0] < signals.at - _TREND_SECONDS:
            self._loads.popleft()
        begun, before = self._loads[0]
        slope = (load - before) / (signals.at - begun) if signals.at > begun else 0.0
        return Signals(
            signals.at, signals.serving, signals.busy, signals.saturation, signals.offered, slope
        )
