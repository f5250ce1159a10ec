"""What is kept of both arms, and what it says."""

import math
import random

import pytest

from silkline.experiments.assignment import Arm
from silkline.experiments.tally import ScoreTally, Tally


def rewarded(control: list[float], candidate: list[float]) -> Tally:
    tally = Tally(0.01)
    for arm, values in ((Arm.CONTROL, control), (Arm.CANDIDATE, candidate)):
        for value in values:
            tally.reward(arm, value)
    return tally


def test_equal_rewards_prove_no_more_than_their_number_does() -> None:
    few, many = (
        rewarded([1.0] * count, [1.0] * count).gain.log_evidence_above(-0.01, 500, 0.05)
        for count in (45, 20_000)
    )
    assert few < math.log(20) < many
    assert math.isfinite(many)


def test_without_feedback_for_an_arm_nothing_is_known() -> None:
    assert math.isinf(rewarded([], [1.0] * 50).gain.standard_error)


def test_a_clear_difference_is_found() -> None:
    gain = rewarded([1.0] * 90 + [0.0] * 10, [1.0] * 50 + [0.0] * 50).gain
    assert -0.45 < gain.estimate < -0.35
    assert gain.negated().log_evidence_above(0.0, 100, 0.05) > math.log(20)


@pytest.mark.full
@pytest.mark.parametrize("loss", [0.05, 0.2, -0.1])
def test_a_mean_loss_at_the_margin_is_doubted_rarely_in_both_directions(loss: float) -> None:
    rng, runs, false = random.Random(1), 10_000, [0, 0]
    worse, better = 0.2 + loss / 2, 0.2 - loss / 2
    for _ in range(runs):
        scores, limit = ScoreTally(loss), math.log(20)
        doubted = [False, False]
        for _ in range(300):
            scores.add(rng.choices((-1.0, 1.0, 0.0), (worse, better, 1 - worse - better))[0])
            doubted[0] |= scores.log_worse >= limit
            doubted[1] |= scores.log_better >= limit
        false = [count + one for count, one in zip(false, doubted, strict=True)]
    print(f"loss {loss}: {false} false verdicts of {runs} runs")  # noqa: T201 - a figure for the docs
    assert max(false) <= 0.05 * runs
