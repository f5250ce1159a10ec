"""What an experiment has seen so far, of both arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from silkline.experiments.assignment import Arm
from silkline.experiments.bounded import AboveBound
from silkline.experiments.difference import Difference, Moments, difference, stratified

_MIN_SECONDS = 1e-6


class Observation(NamedTuple):
    """How one request ended.

    Attributes:
        request: Its id.
        tenant: The name of its tenant.
        arm: Its arm, `CONTROL` or `CANDIDATE`.
        stratum: What it is compared within: its cache state.
        failed: Whether it failed by no fault of the client's.
        seconds: Its duration.
        size: Something known before that explains the duration, such as characters and pixels.
        at: Unix time in seconds.
    """

    request: str
    tenant: str
    arm: Arm
    stratum: str
    failed: bool
    seconds: float
    size: float
    at: float


class Scored(NamedTuple):
    """What a scorer says about the two answers to one request.

    Attributes:
        request: Its id.
        tenant: The name of its tenant.
        scorer: The scorer.
        value: -1 if the candidate's answer is worse, 1 if it is better.
        at: Unix time in seconds.
    """

    request: str
    tenant: str
    scorer: str
    value: float
    at: float


class ScoreTally:
    """The scores of one scorer, and what they prove about their mean, exactly."""

    def __init__(self, margin: float) -> None:
        """Starts empty; `margin` is the accepted mean loss, from above -1 to below 1."""
        self.count = 0
        self.mean = 0.0
        self._worse = AboveBound((1 + margin) / 2)
        self._better = AboveBound((1 - margin) / 2)

    def add(self, value: float) -> None:
        """Takes a score, from -1 to 1."""
        self.count += 1
        self.mean += (value - self.mean) / self.count
        self._worse.add((1 - value) / 2)
        self._better.add((1 + value) / 2)

    @property
    def log_worse(self) -> float:
        """The evidence that the mean loss is above the margin."""
        return self._worse.log_evidence

    @property
    def log_better(self) -> float:
        """The evidence that the mean loss is below the margin."""
        return self._better.log_evidence


@dataclass(slots=True)
class _ArmTally:
    requests: int = 0
    failures: int = 0
    rewards: Moments = field(default_factory=Moments)


class Tally:
    """Requests, failures, latencies and rewards of both arms; each observation takes O(1)."""

    def __init__(self, max_failures: float, margins: Mapping[str, float] | None = None) -> None:
        """Starts empty.

        Args:
            max_failures: The accepted share of failed requests.
            margins: The scorers, and the accepted mean loss of each.
        """
        self.scores = {name: ScoreTally(margin) for name, margin in (margins or {}).items()}
        self._arms = {Arm.CONTROL: _ArmTally(), Arm.CANDIDATE: _ArmTally()}
        self._latencies: dict[str, dict[Arm, Moments]] = {}
        self._fails_more = AboveBound(max_failures)
        self._fails_less = AboveBound(1 - max_failures)

    def add(self, seen: Observation) -> None:
        """Takes a request that has ended."""
        arm = self._arms[seen.arm]
        arm.requests += 1
        arm.failures += seen.failed
        if seen.arm is Arm.CANDIDATE:
            self._fails_more.add(float(seen.failed))
            self._fails_less.add(float(not seen.failed))
        if not seen.failed:
            stratum = self._latencies.setdefault(
                seen.stratum, {Arm.CONTROL: Moments(), Arm.CANDIDATE: Moments()}
            )
            stratum[seen.arm].add(math.log(max(seen.seconds, _MIN_SECONDS)), math.log1p(seen.size))

    def reward(self, arm: Arm, value: float) -> None:
        """Takes the reward of a request, from 0 to 1."""
        self._arms[arm].rewards.add(value)

    def score(self, seen: Scored) -> None:
        """Takes the score of a pair of answers; of a scorer that is not declared, it is ignored."""
        if seen.scorer in self.scores:
            self.scores[seen.scorer].add(seen.value)

    def requests(self, arm: Arm) -> int:
        """Number of requests of an arm."""
        return self._arms[arm].requests

    @property
    def compared(self) -> int:
        """Number of requests of both arms together."""
        return sum(arm.requests for arm in self._arms.values())

    def failures(self, arm: Arm) -> int:
        """Number of failed requests of an arm."""
        return self._arms[arm].failures

    def rewards(self, arm: Arm) -> Moments:
        """The rewards of an arm."""
        return self._arms[arm].rewards

    def strata(self) -> dict[str, dict[str, int]]:
        """Requests that did not fail, by what they are compared within and by arm."""
        return {
            stratum: {arm.value: moments.count for arm, moments in both.items()}
            for stratum, both in self._latencies.items()
        }

    @property
    def latency(self) -> Difference:
        """The candidate's mean logarithm of seconds less the control's, within strata."""
        return stratified(
            (both[Arm.CONTROL], both[Arm.CANDIDATE]) for both in self._latencies.values()
        )

    @property
    def gain(self) -> Difference:
        """The candidate's mean reward less the control's.

        Both arms count as if they had one more reward of 0 and one of 1: equal rewards would have
        no variance, and prove anything. Agresti and Caffo, Simple and effective confidence
        intervals for proportions, The American Statistician 2000.
        """
        control, candidate = (self._arms[arm].rewards for arm in (Arm.CONTROL, Arm.CANDIDATE))
        if not (control.count and candidate.count):
            return Difference(0.0, math.inf, 0.0)
        return difference(_with_both(control), _with_both(candidate))

    @property
    def log_fails_more(self) -> float:
        """The evidence that the candidate fails more than is accepted."""
        return self._fails_more.log_evidence

    @property
    def log_fails_less(self) -> float:
        """The evidence that the candidate fails less than is accepted."""
        return self._fails_less.log_evidence


def _with_both(rewards: Moments) -> Moments:
    """The rewards, and one of 0 and one of 1."""
    more = replace(rewards)
    more.add(0.0)
    more.add(1.0)
    return more
