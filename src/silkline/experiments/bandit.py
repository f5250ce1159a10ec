"""Thompson sampling: each arm gets traffic by the probability that its mean reward is the higher.

Thompson, On the likelihood that one unknown probability exceeds another, Biometrika 1933. Rewards
from 0 to 1 count as parts of successes and failures, with one of each to begin with. The share is
computed, not drawn, so all gateways with the same rewards agree on it.
"""

from __future__ import annotations

import math

from silkline.experiments.assignment import Arm, position
from silkline.experiments.difference import Moments

_HALF = math.sqrt(0.5)


def candidate_share(control: Moments, candidate: Moments, floor: float) -> float:
    """Returns the candidate's share of the traffic.

    Args:
        control: The rewards of the model.
        candidate: The rewards of the candidate.
        floor: The share that each arm keeps, from above 0 to 0.5.
    """
    (mean, variance), (other_mean, other_variance) = map(_posterior, (control, candidate))
    distance = (other_mean - mean) / math.sqrt(variance + other_variance)
    return min(1 - floor, max(floor, math.erfc(-distance * _HALF) / 2))


def bandit_arm(experiment: str, unit: bytes, share: float) -> Arm:
    """Returns the arm of a unit; a unit changes its arm when the share passes its position."""
    return Arm.CANDIDATE if position(experiment, unit) < share else Arm.CONTROL


def _posterior(rewards: Moments) -> tuple[float, float]:
    """The mean and the variance of the beta distribution of a mean reward."""
    won = 1 + rewards.count * rewards.mean
    total = 2 + rewards.count
    mean = won / total
    return mean, mean * (1 - mean) / (total + 1)
