"""The declared split, and several findings at once."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial, multinomial
from ville.evalues import ebh

from silkline.experiments.split import believed, log_mismatch


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=4), st.data())
def test_a_mismatch_is_weighed_as_by_two_distributions(
    counts: list[int], data: st.DataObject
) -> None:
    weights = [data.draw(st.floats(0.05, 1)) for _ in counts]
    shares = [weight / sum(weights) for weight in weights]
    mixed = dirichlet_multinomial.logpmf(counts, [100 * share for share in shares], sum(counts))
    declared = multinomial.logpmf(counts, sum(counts), [*shares[:-1], 1 - sum(shares[:-1])])
    assert log_mismatch(counts, weights) == pytest.approx(mixed - declared, abs=1e-5)


def test_the_order_of_units_says_nothing_without_units() -> None:
    assert log_mismatch([0, 0], [1, 1]) == pytest.approx(0)


@pytest.mark.parametrize(
    "runs", [300, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(0)])]
)
def test_a_right_split_is_seldom_doubted_however_often_one_looks(runs: int) -> None:
    rng = random.Random(9)
    doubted = sum(_doubted(rng, 0.05, 3_000) is not None for _ in range(runs))
    print(f"doubted in {doubted} of {runs} runs")  # noqa: T201 - a figure for the docs
    assert doubted <= 0.01 * runs


def test_a_wrong_split_is_found() -> None:
    rng = random.Random(10)
    found = [_doubted(rng, 0.07, 20_000) for _ in range(20)]
    assert all(number is not None and number < 15_000 for number in found)


def _doubted(rng: random.Random, share: float, units: int) -> int | None:
    """After how many units a declared share of 5% is given up, at an error rate of 1%."""
    counts = [0, 0]
    for number in range(1, units + 1):
        counts[rng.random() < share] += 1
        if number % 10 == 0 and log_mismatch(counts, [95, 5]) > math.log(100):
            return number
    return None


@given(st.lists(st.floats(-5, 15), max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_findings_are_believed_as_by_another_implementation(
    evidence: list[float], alpha: float
) -> None:
    ours = believed(evidence, alpha)
    theirs = ebh([math.exp(one) for one in evidence], alpha) if evidence else []
    assert ours == list(theirs)
