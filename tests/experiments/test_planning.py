"""What is told before an experiment starts."""

import math
import random
import statistics

import pytest

from silkline.experiments.difference import Moments, difference
from silkline.experiments.planning import arm_counts, fixed_observations, likely_observations

DEVIATION = math.sqrt((0.95 * 0.05 + 0.9 * 0.1) / 2)


def test_a_single_look_needs_what_the_textbook_says() -> None:
    # One-sided 5%, power 80%, half a standard deviation: 2 (1.645 + 0.842)^2 / 0.25 = 49.5 an arm.
    assert arm_counts(fixed_observations(0.5, 1.0, 0.05, 0.8), 0.5) == (50, 50)


def test_a_small_arm_needs_more_in_all() -> None:
    even, small = (sum(arm_counts(100.0, share)) for share in (0.5, 0.05))
    assert even == 400
    assert small == pytest.approx(100 / (0.05 * 0.95), abs=2)


@pytest.mark.parametrize(
    "runs", [60, pytest.param(2_000, marks=[pytest.mark.full, pytest.mark.timeout(0)])]
)
def test_an_arm_five_points_worse_is_found_nearly_as_soon_as_by_a_single_look(runs: int) -> None:
    fixed = fixed_observations(0.05, DEVIATION, 0.05, 0.8)
    rng = random.Random(11)
    needed = [_needed(rng, fixed) / fixed for _ in range(runs)]
    print(f"requests over those of a fixed test: median {statistics.median(needed):.2f}")  # noqa: T201 - a figure for the docs
    assert statistics.median(needed) <= 1.3
    told = likely_observations(0.05, DEVIATION, fixed, 0.05) / fixed
    assert 0.5 < sum(one <= told for one in needed) / runs < 0.9


def _needed(rng: random.Random, planned: float) -> float:
    control, canary = Moments(), Moments()
    while True:
        control.add(float(rng.random() < 0.95))
        canary.add(float(rng.random() < 0.90))
        found = difference(canary, control)
        if control.count < 50:
            continue
        if found.log_evidence_above(0, planned, 0.05) > math.log(20):
            return found.observations
