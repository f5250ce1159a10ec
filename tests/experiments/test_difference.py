"""What is kept of arms, and their difference."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.experiments.difference import Moments, difference, stratified

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


def moments(values: list[float], covariates: list[float] | None = None) -> Moments:
    found = Moments()
    for value, covariate in zip(values, covariates or [0.0] * len(values), strict=True):
        found.add(value, covariate)
    return found


@given(VALUES, VALUES)
def test_without_a_covariate_it_is_the_plain_difference(a: list[float], b: list[float]) -> None:
    found = difference(moments(a), moments(b))
    assert found.estimate == pytest.approx(statistics.fmean(b) - statistics.fmean(a), abs=1e-6)
    variance = statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    assert found.standard_error == pytest.approx(math.sqrt(variance), abs=1e-6)
    assert found.observations == pytest.approx(len(a) * len(b) / (len(a) + len(b)))


@given(VALUES)
def test_what_the_covariate_explains_is_taken_out(covariates: list[float]) -> None:
    # The value is twice the covariate in the first arm and 5 more in the second.
    first = moments([2 * one for one in covariates], covariates)
    second = moments([2 * one + 5 for one in covariates[:2]], covariates[:2])
    if first.covariate_squares + second.covariate_squares > 1e-3:
        found = difference(first, second)
        assert found.estimate == pytest.approx(5, abs=1e-3)
        assert found.standard_error == pytest.approx(0, abs=1e-3)


def test_a_covariate_narrows_the_interval() -> None:
    rng = random.Random(3)
    arms: tuple[list[tuple[float, float]], ...] = [], []
    for _ in range(400):
        tokens = rng.gauss(500, 100)
        arms[rng.random() < 0.5].append((tokens + rng.gauss(0, 20), tokens))
    plain = difference(*(moments([value for value, _ in arm]) for arm in arms))
    less = difference(*(moments(*map(list, zip(*arm, strict=True))) for arm in arms))
    assert less.standard_error < plain.standard_error / 3
    assert abs(less.estimate) < 3 * less.standard_error


def test_an_arm_with_one_observation_tells_nothing() -> None:
    found = difference(moments([1.0, 2.0]), moments([1.0]))
    assert found.interval(100, 0.05) == (-math.inf, math.inf)
    assert found.log_evidence_above(0, 100, 0.05) == 0


@pytest.mark.parametrize(("value", "told"), [(4.0, math.inf), (5.0, 0.0), (6.0, -math.inf)])
def test_equal_observations_decide_at_once(value: float, told: float) -> None:
    found = difference(moments([0.0, 0.0]), moments([5.0, 5.0]))
    assert found.log_evidence_above(value, 100, 0.05) == told
    assert found.interval(100, 0.05) == (5, 5)


def test_strata_are_compared_with_their_like() -> None:
    """Each arm is as fast in each stratum; the second has more of the slow ones."""
    fast, slow = [1.0, 1.2, 0.8] * 30, [10.0, 12.0, 8.0] * 30
    first = moments(fast + slow[:6]), moments(fast)
    assert difference(first[0], moments(fast[:6] + slow)).estimate > 5
    found = stratified(
        [
            (moments(fast), moments(fast[:6])),
            (moments(slow[:6]), moments(slow)),
            (moments([3.0]), moments([99.0])),
        ]
    )
    assert found.estimate == pytest.approx(0)
    assert 0 < found.standard_error < 1
    assert stratified([]).interval(100, 0.05) == (-math.inf, math.inf)
