"""The population stability index, beside SciPy and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, entropy

from silkline.drift.psi import chance_limit, chi_square_quantile, stability_index


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)), min_size=2, max_size=30))
def test_the_index_is_the_sum_of_both_divergences(counts: list[tuple[int, int]]) -> None:
    before, now = (np.array(side) + 0.5 for side in zip(*counts, strict=True))
    both = entropy(before, now) + entropy(now, before)
    found = stability_index(*zip(*counts, strict=True))
    assert found == pytest.approx(both, abs=1e-9)


def test_equal_shares_have_no_index() -> None:
    assert stability_index([100, 300], [1_000, 3_000]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("degrees", [1, 2, 5, 9, 15, 31])
@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6, 1e-8])
def test_the_quantile_is_at_least_the_true_one_and_little_more(degrees: int, alpha: float) -> None:
    true = chi2.isf(alpha, degrees)
    assert 0.99 * true <= chi_square_quantile(degrees, alpha) <= 1.3 * true


@pytest.mark.parametrize("bins", [2, 12, 32])
def test_chance_exceeds_the_limit_no_more_often_than_it_may(bins: int) -> None:
    draw = np.random.default_rng(bins)
    alpha, windows, exceeded = 0.001, 4_000, 0
    for shares in draw.dirichlet(np.ones(bins), size=4):
        baseline = draw.multinomial(2_000, shares).tolist()
        limit = chance_limit(bins, 2_000, 500, alpha)
        found = draw.multinomial(500, shares, size=windows // 4)
        exceeded += sum(stability_index(baseline, one.tolist()) > limit for one in found)
    assert exceeded <= alpha * windows + 4 * math.sqrt(alpha * windows)
