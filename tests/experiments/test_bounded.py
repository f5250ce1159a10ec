"""Means of bounded observations, against another implementation and by simulation."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ville.means import EmpiricalBernsteinCS

from silkline.experiments.bounded import AboveBound, BoundedMean

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=50)


@given(VALUES)
def test_the_interval_is_that_of_another_implementation(values: list[float]) -> None:
    ours, theirs = BoundedMean(0.05), EmpiricalBernsteinCS(alpha=0.05).fit(np.array(values))
    for value in values:
        ours.add(value)
    assert ours.interval == pytest.approx((theirs.lower_[-1], theirs.upper_[-1]))


@given(VALUES)
def test_other_bounds_give_the_same_interval_scaled(values: list[float]) -> None:
    ours, scaled = BoundedMean(0.05), BoundedMean(0.05, -1.0, 1.0)
    for value in values:
        ours.add(value)
        scaled.add(2 * value - 1)
    assert scaled.interval == pytest.approx([2 * end - 1 for end in ours.interval], abs=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_an_observation_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not from 0"):
        BoundedMean(0.05).add(value)


RUNS = [300, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(0)])]


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_the_interval_covers_the_true_mean_at_all_times(share: float, runs: int) -> None:
    rng = random.Random(4)
    covered = 0
    for _ in range(runs):
        found = BoundedMean(0.05)
        for _ in range(500):
            found.add(float(rng.random() < share))
        covered += found.interval[0] <= share <= found.interval[1]  # it never grows
    print(f"mean {share}: covered in {covered} of {runs} runs")  # noqa: T201 - a figure for the docs
    assert covered >= 0.95 * runs


@pytest.mark.parametrize("runs", RUNS)
def test_a_bound_that_holds_is_seldom_doubted(runs: int) -> None:
    rng = random.Random(5)
    doubted = sum(_doubted(rng, 0.01, 0.01, 1_000) is not None for _ in range(runs))
    print(f"doubted in {doubted} of {runs} runs")  # noqa: T201 - a figure for the docs
    assert doubted <= 0.05 * runs


def test_one_that_fails_5_percent_is_found_within_100_requests() -> None:
    rng = random.Random(6)
    found = [_doubted(rng, 0.05, 0.005, 1_000) or 1_000 for _ in range(500)]
    assert sorted(found)[len(found) // 2] <= 100


def _doubted(rng: random.Random, share: float, bound: float, requests: int) -> int | None:
    """After how many requests the bound is given up; None if it never is."""
    evidence = AboveBound(bound)
    for number in range(1, requests + 1):
        evidence.add(float(rng.random() < share))
        if evidence.log_evidence > math.log(20):
            return number
    return None
