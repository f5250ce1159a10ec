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

_MISMATCH_RATE = 0.01
_MIN_OBSERVATIONS = 20.0
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
    """

    step: Step
    reason: str
    harm: dict[str, float]
    proof: dict[str, float]
    limits: tuple[float, float]


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
    if settings.mode == "bandit":
        del harm[REWARD]  # its traffic already depends on the rewards
    proof = {} if in_shadow else _proof(tally, settings, latency, gain)
    harm |= {SCORE + name: one.log_worse for name, one in tally.scores.items()}
    proof |= {SCORE + name: one.log_better for name, one in tally.scores.items()}
    limits = (math.log(len(harm) / alpha), math.log(1 / alpha))
    counts = [tally.requests(arm) for arm in (Arm.CONTROL, Arm.CANDIDATE)]
    found = [
        name for name, is_so in zip(harm, believed([*harm.values()], alpha), strict=True) if is_so
    ]
    if found:
        return Verdict(Step.ROLL_BACK, _told(found, tally), harm, proof, limits)
    if settings.mode == "bandit":
        reason = "A bandit gives each arm traffic by its rewards; nothing is to be decided."
        return Verdict(Step.WAIT, reason, harm, {}, limits)
    if log_mismatch(counts, (1, 1)) > math.log(1 / _MISMATCH_RATE):
        reason = (
            f"Control and candidate should have equally many requests, and have {counts[0]} and "
            f"{counts[1]}: requests are lost or assigned wrongly, so nothing can be concluded."
        )
        return Verdict(Step.WAIT, reason, harm, proof, limits)
    missing = [name for name, value in proof.items() if value < limits[1]]
    if missing:
        reason = f"Too small to decide: {', '.join(missing)} needs more requests."
        return Verdict(Step.WAIT, reason, harm, proof, limits)
    here = counts[1] - requests_before
    if in_shadow:
        here = min(one.count for one in tally.scores.values())
    if here < settings.step_requests:
        reason = f"{here} of {settings.step_requests} requests at this share."
        return Verdict(Step.WAIT, reason, harm, proof, limits)
    return Verdict(Step.ADVANCE, "Every requirement is met.", harm, proof, limits)


def _harm(
    tally: Tally, settings: ExperimentSettings, latency: Difference, gain: Difference
) -> dict[str, float]:
    planned, alpha = settings.planned_observations, settings.error_rate
    slower, worse = latency, gain.negated()
    return {
        FAILURES: tally.log_fails_more,
        LATENCY: slower.log_evidence_above(math.log1p(settings.latency_margin), planned, alpha),
        REWARD: worse.log_evidence_above(settings.reward_margin, planned, alpha),
    }


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
    if found.observations < _MIN_OBSERVATIONS:
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
