"""The interval of a quantile."""

import math

import numpy as np
import pytest
from ville.quantiles import QuantileCS

from silkline.experiments.quantile import Quantile

RUNS = [200, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(0)])]


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_the_interval_covers_the_true_quantile_at_all_times(share: float, runs: int) -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(runs):
        found = Quantile(share, 500, 0.05)
        inside = True
        for number, value in enumerate(rng.uniform(size=1_000), 1):
            found.add(value)
            if number % 20 == 0:
                low, high = found.interval
                inside = inside and low <= share <= high
        covered += inside
    print(f"quantile {share}: covered in {covered} of {runs} runs")  # noqa: T201 - a figure for the docs
    assert covered >= 0.95 * runs


def test_the_tail_is_narrower_than_by_a_bound_for_any_share() -> None:
    values = np.random.default_rng(8).exponential(size=2_000)
    ours, theirs = Quantile(0.95, 2_000, 0.05), QuantileCS(0.95, 0.05, 2_000).fit(values)
    for value in values:
        ours.add(value)
    low, high = ours.interval
    assert theirs.lower_[-1] < low < ours.estimate < high < theirs.upper_[-1]


def test_few_observations_have_no_bounds() -> None:
    assert Quantile(0.99, 1_000, 0.05).interval == (-math.inf, math.inf)
    found = Quantile(0.99, 1_000, 0.05)
    for value in range(5):
        found.add(value)
    assert found.interval == (0.0, math.inf)  # that all five are above has a chance of 1e-10
    assert found.estimate == 4


def test_equal_observations_are_the_quantile() -> None:
    found = Quantile(0.5, 100, 0.05)
    for _ in range(200):
        found.add(3.0)
    assert found.interval == (3.0, 3.0)
