"""What an experiment's evidence allows: go on, take the next step, or roll back."""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

from silkline.config.experiments import ExperimentSettings
from silkline.experiments.assignment import Arm
from silkline.experiments.difference import Difference
from silkline.experiments.split import believed, log_mismatch
from silkline.experiments.tally import Tally

MISMATCH_LIMIT = math.log(1 / 0.01)
"""What the evidence of a wrong split has to reach."""

MIN_OBSERVATIONS = 20.0
"""Harmonic sum of both arms' counts below which means are not compared: 40 in each."""

FAILURES, LATENCY, REWARD, SPLIT = "failures", "latency", "reward", "split"
SCORE = "score:"
"""Prefix of a scorer's guard and requirement."""


class Step(Enum):
    """What to do next."""

    WAIT = "wait"
    ADVANCE = "advance"
    ROLL_BACK = "roll_back"


class Verdict(NamedTuple):
    """What the evidence allows, and why.

    Attributes:
        step: What to do next.
        reason: Why, in one sentence.
        harm: For each guard, the logarithm of the e-value against "the candidate is acceptable".
        proof: For each requirement, the logarithm of the e-value against "it is not met".
        limits: What `harm` alone and `proof` have to reach.
        mismatch: The logarithm of the e-value against "traffic is split evenly".
    """

    step: Step
    reason: str
    harm: dict[str, float]
    proof: dict[str, float]
    limits: tuple[float, float]
    mismatch: float

    @property
    def is_mismatch(self) -> bool:
        """Whether the arms' sizes differ by more than chance."""
        return self.mismatch > MISMATCH_LIMIT


def judge(
    tally: Tally,
    settings: ExperimentSettings,
    requests_before: int,
    *,
    in_shadow: bool = False,
) -> Verdict:
    """Judges the evidence; it may be called after every request.

    The chance that an acceptable candidate is ever rolled back is at most the error rate, and so is
    the chance that one that misses a requirement is ever promoted.

    Args:
        tally: What was seen.
        settings: The experiment.
        requests_before: The candidate's requests before its share was last raised.
        in_shadow: Whether the candidate answers only in the shadow: then only scores count.
    """
    alpha = settings.error_rate
    latency, gain = _compared(tally.latency), _compared(tally.gain)
    harm = _harm(tally, settings, latency, gain)
    proof = {} if in_shadow else _proof(tally, settings, latency, gain)
    proof |= {SCORE + name: one.log_better for name, one in tally.scores.items()}
    limits = (math.log(len(harm) / alpha), math.log(1 / alpha))
    counts = [tally.requests(arm) for arm in (Arm.CONTROL, Arm.CANDIDATE)]
    mismatch = 0.0 if settings.mode == "bandit" else log_mismatch(counts, (1, 1))
    known = (harm, proof, limits, mismatch)
    found = [
        name for name, is_so in zip(harm, believed([*harm.values()], alpha), strict=True) if is_so
    ]
    if found:
        return Verdict(Step.ROLL_BACK, _told(found, tally), *known)
    if settings.mode == "bandit":
        reason = "A bandit gives each arm traffic by its rewards; nothing is to be decided."
        return Verdict(Step.WAIT, reason, *known)
    if mismatch > MISMATCH_LIMIT:
        reason = (
            f"Control and candidate should have equally many requests, and have {counts[0]} and "
            f"{counts[1]}: requests are lost or assigned wrongly, so nothing can be concluded."
        )
        return Verdict(Step.WAIT, reason, *known)
    missing = [name for name, value in proof.items() if value < limits[1]]
    if missing:
        reason = f"Too small to decide: {', '.join(missing)} needs more requests."
        return Verdict(Step.WAIT, reason, *known)
    pairs = [one.count for one in tally.scores.values()]
    here = min(pairs) if in_shadow else counts[1] - requests_before
    if here < settings.step_requests:
        reason = f"{here} of {settings.step_requests} requests at this share."
        return Verdict(Step.WAIT, reason, *known)
    return Verdict(Step.ADVANCE, "Every requirement is met.", *known)


def _harm(
    tally: Tally, settings: ExperimentSettings, latency: Difference, gain: Difference
) -> dict[str, float]:
    planned, alpha = settings.planned_observations, settings.error_rate
    slower, worse = latency, gain.negated()
    harm = {
        FAILURES: tally.log_fails_more,
        LATENCY: slower.log_evidence_above(math.log1p(settings.latency_margin), planned, alpha),
    }
    if settings.mode == "test":  # the traffic of a bandit already depends on the rewards
        harm[REWARD] = worse.log_evidence_above(settings.reward_margin, planned, alpha)
    return harm | {SCORE + name: one.log_worse for name, one in tally.scores.items()}


def _proof(
    tally: Tally, settings: ExperimentSettings, latency: Difference, gain: Difference
) -> dict[str, float]:
    planned, alpha = settings.planned_observations, settings.error_rate
    faster = latency.negated()
    proof = {
        FAILURES: tally.log_fails_less,
        LATENCY: faster.log_evidence_above(-math.log1p(settings.latency_margin), planned, alpha),
    }
    if settings.needs_feedback or settings.goal == "better":
        value = 0.0 if settings.goal == "better" else -settings.reward_margin
        proof[REWARD] = gain.log_evidence_above(value, planned, alpha)
    return proof


def _compared(found: Difference) -> Difference:
    """A difference; one of too few observations tells nothing."""
    if found.observations < MIN_OBSERVATIONS:
        return Difference(0.0, math.inf, 0.0)
    return found


def _told(found: list[str], tally: Tally) -> str:
    told = []
    if FAILURES in found:
        told.append(
            f"{tally.failures(Arm.CANDIDATE)} of {tally.requests(Arm.CANDIDATE)} requests failed "
            f"(control: {tally.failures(Arm.CONTROL)} of {tally.requests(Arm.CONTROL)})"
        )
    if LATENCY in found:
        told.append(f"its latency is {math.exp(tally.latency.estimate):.2f} times the control's")
    if REWARD in found:
        told.append(f"its mean reward is {-tally.gain.estimate:.3f} below the control's")
    told += [
        f"its mean score by {name} is {one.mean:+.3f} over {one.count} pairs of answers"
        for name, one in tally.scores.items()
        if SCORE + name in found
    ]
    return f"The candidate is worse: {'; '.join(told)}."
