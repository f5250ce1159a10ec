"""Thompson sampling over two arms."""

import random
from statistics import fmean

import pytest

from silkline.experiments.assignment import Arm
from silkline.experiments.bandit import bandit_arm, candidate_share
from silkline.experiments.difference import Moments


def rewards(*values: float) -> Moments:
    found = Moments()
    for value in values:
        found.add(value)
    return found


def test_both_arms_begin_evenly_and_keep_the_floor() -> None:
    assert candidate_share(rewards(), rewards(), 0.1) == 0.5
    good, bad = rewards(*[1.0] * 100), rewards(*[0.0] * 100)
    assert candidate_share(good, bad, 0.1) == 0.1
    assert candidate_share(bad, good, 0.1) == 0.9


def test_the_better_arm_gets_more_but_not_all_while_it_is_unsure() -> None:
    share = candidate_share(rewards(1, 0, 1, 0), rewards(1, 1, 1, 0), 0.05)
    assert 0.6 < share < 0.85


def test_a_unit_keeps_its_arm_while_the_share_does() -> None:
    units = [str(number).encode() for number in range(2_000)]
    arms = [bandit_arm("e", unit, 0.3) for unit in units]
    assert [bandit_arm("e", unit, 0.3) for unit in units] == arms
    assert abs(arms.count(Arm.CANDIDATE) - 600) < 4 * 21
    risen = [bandit_arm("e", unit, 0.4) for unit in units]
    assert {now for was, now in zip(arms, risen, strict=True) if was is Arm.CANDIDATE} == {
        Arm.CANDIDATE
    }


def regret(seed: int, means: tuple[float, float], requests: int, delay: int) -> float:
    """The reward that is lost against always using the better arm, per request."""
    rng = random.Random(seed)
    arms, waiting, lost = (Moments(), Moments()), [], 0.0
    share = 0.5
    for number in range(requests):
        arm = rng.random() < share
        lost += max(means) - means[arm]
        waiting.append((arm, float(rng.random() < means[arm])))
        if number % delay == delay - 1:  # rewards come late, and together
            for which, value in waiting:
                arms[which].add(value)
            waiting.clear()
            share = candidate_share(*arms, 0.05)
    return lost / requests


@pytest.mark.full
@pytest.mark.parametrize("means", [(0.5, 0.6), (0.6, 0.5), (0.9, 0.95), (0.5, 0.5)])
def test_regret_is_below_that_of_an_even_split(means: tuple[float, float]) -> None:
    found = fmean(regret(seed, means, 5_000, 20) for seed in range(200))
    even = abs(means[0] - means[1]) / 2
    print(f"{means}: {found:.4f} a request, even {even:.4f}")  # noqa: T201 - a figure for the docs
    assert found <= 0.5 * even
