"""The normal mixture, against another implementation and by simulation."""

import math
import random

import numpy as np
import pytest
from ville._boundaries import best_rho, normal_mixture

from silkline.experiments.difference import Moments, difference
from silkline.experiments.normal_mixture import information_ratio, log_evidence, radius


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
@pytest.mark.parametrize("ratio", [0.01, 1.0, 8.0, 300.0])
def test_the_radius_is_that_of_another_implementation(ratio: float, alpha: float) -> None:
    # Intrinsic time `ratio`, precision 1: there a standard error is 1 / sqrt(ratio).
    theirs = float(normal_mixture(ratio, alpha, 1.0)) / ratio
    assert radius(1 / math.sqrt(ratio), ratio, alpha) == pytest.approx(theirs)


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
@pytest.mark.parametrize("ratio", [0.01, 1.0, 8.0, 300.0])
def test_evidence_reaches_its_limit_where_another_boundary_is_crossed(
    ratio: float, alpha: float
) -> None:
    crossed = float(normal_mixture(ratio, alpha, 1.0, one_sided=True)) / math.sqrt(ratio)
    assert log_evidence(crossed, ratio) == pytest.approx(math.log(1 / alpha))


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
def test_the_ratio_is_nearly_the_best_at_the_planned_number(alpha: float) -> None:
    best = float(normal_mixture(1.0, alpha, best_rho(1.0, alpha)))
    ours = radius(1.0, information_ratio(500, 500, alpha), alpha)
    assert ours == pytest.approx(best, rel=0.01)


def test_far_below_there_is_no_evidence() -> None:
    told = [log_evidence(distance, 8.0) for distance in (-7.9, -8.1, -30.0, -1000.0)]
    assert all(math.isfinite(one) for one in told)
    assert max(told) < math.log(0.2)


def test_equal_arms_are_seldom_told_apart_however_often_one_looks() -> None:
    rng = random.Random(1)
    assert sum(_false_verdict(rng, 1_500, 0.05) for _ in range(100)) <= 5


@pytest.mark.full
@pytest.mark.timeout(0)
def test_equal_arms_are_seldom_told_apart_in_100_000_looks() -> None:
    """The same with arrays, by the other boundary, which is equal."""
    rng, runs, requests, alpha = np.random.default_rng(1), 1_000, 100_000, 0.05
    ratios = np.geomspace(1e-3, 1e3, 10_000)
    crossed = normal_mixture(ratios, alpha / 2, 1.0, one_sided=True) / np.sqrt(ratios)
    false = 0
    for _ in range(runs):
        right = rng.random(requests) < 0.95
        second = rng.random(requests) < 0.5
        error, gap, count = 0.0, 0.0, 0.0
        for sign, arm in ((-1, ~second), (1, second)):
            number = np.maximum(arm.cumsum(), 2)
            mean = (arm & right).cumsum() / number
            gap, error = gap + sign * mean, error + mean * (1 - mean) / (number - 1)
            count += 1 / number
        ratio = information_ratio(1.0, requests / 8, alpha / 2) / count
        limit = np.interp(ratio, ratios, crossed)
        false += bool((np.abs(gap) > limit * np.sqrt(error))[400:].any())
    print(f"{false} false verdicts of {runs} runs of {requests} requests")  # noqa: T201 - for -s
    assert false <= alpha * runs


def _false_verdict(rng: random.Random, requests: int, alpha: float) -> bool:
    arms = Moments(), Moments()
    limit = math.log(2 / alpha)
    for _ in range(requests):
        arms[rng.random() < 0.5].add(float(rng.random() < 0.95))
        if min(arm.count for arm in arms) < 100:
            continue
        found = difference(*arms)
        if any(one.log_evidence_above(0, requests / 8, alpha / 2) > limit
               for one in (found, found.negated())):  # fmt: skip
            return True
    return False


@pytest.mark.parametrize(
    "runs", [500, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(0)])]
)
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_true_difference_at_all_times(runs: int, *, skewed: bool) -> None:
    """Latencies, log-normal where skewed, seen from the 100th of each arm on."""
    rng, requests, alpha = np.random.default_rng(2), 2_000, 0.05
    covered = 0
    for _ in range(runs):
        values = rng.normal(1.0, 0.5, (2, requests))
        values = np.exp(values) if skewed else values
        number = np.arange(1, requests + 1)
        mean = np.cumsum(values, axis=1) / number
        squares = np.cumsum(values**2, axis=1) - number * mean**2
        error = np.sqrt((squares / np.maximum(number - 1, 1) / number).sum(axis=0))
        half = [
            radius(float(one), information_ratio(count / 2, requests / 4, alpha), alpha)
            for count, one in zip(number[99::20], error[99::20], strict=True)
        ]
        covered += bool((np.abs(mean[1] - mean[0])[99::20] <= half).all())
    print(f"covered in {covered} of {runs} runs, skewed: {skewed}")  # noqa: T201 - a figure for the docs
    assert covered >= (1 - alpha) * runs
