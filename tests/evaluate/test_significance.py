"""The statistics against known values and against simulation."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.evaluate.significance import (
    Interval,
    bootstrap,
    holm,
    mcnemar,
    paired_shares,
    sign_flip,
    student,
    wilson,
)

COUNTS = st.integers(0, 60)


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 6, 2 / 64),
        (1, 9, 2 * 11 / 1024),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
        (86, 150, 3.716e-05),  # Agresti, Categorical Data Analysis, table 10.1; R, exact2x2
    ],
)
def test_mcnemar_is_the_binomial_test(better: int, worse: int, p: float) -> None:
    assert mcnemar(better, worse) == pytest.approx(p, rel=1e-4)


@given(COUNTS, COUNTS)
def test_mcnemar_against_the_plain_sum(better: int, worse: int) -> None:
    count = better + worse
    tail = sum(math.comb(count, place) for place in range(min(better, worse) + 1))
    assert mcnemar(better, worse) == pytest.approx(min(1.0, 2 * tail / 2**count))
    assert mcnemar(better, worse) == mcnemar(worse, better)


def test_mcnemar_of_many_is_quick_and_exact() -> None:
    assert mcnemar(10_000, 10_000) == 1.0
    assert 0 < mcnemar(10_000, 10_400) < 0.006


def test_wilson_gives_published_values() -> None:
    """Newcombe, Statistics in Medicine 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(right, count)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    with pytest.raises(ValueError, match="at least one"):
        wilson(0, 0)


def test_the_interval_of_paired_shares_gives_published_values() -> None:
    """1 better and 7 worse of 21: Fagerland et al., Statistics in Medicine 2014, on Bentur's."""
    found = paired_shares(1, 7, 21)
    assert (found.low, found.high) == pytest.approx((-0.508, -0.013), abs=5e-4)
    assert paired_shares(0, 0, 64).high == pytest.approx(0.042, abs=5e-4)


@given(COUNTS, COUNTS, COUNTS)
def test_the_interval_of_paired_shares_holds_what_was_seen(ups: int, downs: int, same: int) -> None:
    count = ups + downs + same
    if not count:
        with pytest.raises(ValueError, match="at least one"):
            paired_shares(0, 0, 0)
        return
    found = paired_shares(ups, downs, count)
    assert -1 <= found.low <= (ups - downs) / count <= found.high <= 1
    assert found.low < found.high
    turned = paired_shares(downs, ups, count)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_few_items_get_wider_intervals_than_their_percentiles() -> None:
    """As Student's t is wider than the normal distribution: Hesterberg 2015, section 5.2."""
    rng = random.Random(3)
    values = [rng.gauss(0, 1) for _ in range(10)]
    found = bootstrap(values)
    half = 2.262 * statistics.stdev(values) / math.sqrt(10)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_two_items_hold_no_more_than_they_do() -> None:
    assert bootstrap([0.0, 1.0]) == Interval(0.0, 1.0)


def test_the_bootstrap_covers_the_true_mean() -> None:
    rng = random.Random(7)
    covered = 0
    for number in range(100):
        values = [rng.choice([-1.0, 0.0, 0.0, 1.0]) + 0.1 for _ in range(60)]
        found = bootstrap(values, number)
        covered += found.low <= 0.1 <= found.high
    assert 88 <= covered <= 100


def test_the_bootstrap_repeats_itself_and_holds_the_mean() -> None:
    values = [random.Random(1).random() for _ in range(50)]
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap([0.5] * 9).low == bootstrap([0.5] * 9).high == 0.5
    many = [float(place % 2) for place in range(6_000)]
    found = bootstrap(many)
    assert (found.low + found.high) / 2 == pytest.approx(0.5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(6_000), rel=1e-3)


def test_equal_subjects_are_called_different_as_rarely_as_promised() -> None:
    """200 comparisons of a subject with itself, right in 80% at random; both tests at 5%."""
    rng = random.Random(11)
    by_mcnemar = by_flips = 0
    for number in range(200):
        changes = [(rng.random() < 0.8) - (rng.random() < 0.8) for _ in range(60)]
        better, worse = changes.count(1), changes.count(-1)
        by_mcnemar += mcnemar(better, worse) < 0.05
        if number < 60:
            by_flips += sign_flip(changes, number) < 0.05
    assert by_mcnemar <= 16
    assert by_flips <= 8


def test_sign_flips_find_what_there_is() -> None:
    assert sign_flip([0.0] * 5) == 1.0
    assert sign_flip([0.1] * 20) < 0.001
    assert sign_flip([1.0, -1.0] * 10) == 1.0
    # with 5 differences of one sign, 2 of the 32 arrangements are as extreme
    assert sign_flip([1.0] * 5) == pytest.approx(2 / 32, abs=0.02)
    assert sign_flip([0.1, 0.12] * 3_000) < 1e-9
    assert sign_flip([0.1, -0.1] * 3_000) == 1.0


def test_holm_corrects_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(after >= before for before, after in zip(values, corrected, strict=True))
    assert all(after <= 1 for after in corrected)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [corrected[place] for place in order] == sorted(corrected)


@pytest.mark.parametrize(
    ("freedom", "share", "quantile"),
    [
        # from printed tables of Student's t
        (1, 0.95, 6.314),
        (2, 0.95, 2.920),
        (2, 0.99, 6.965),
        (2, 0.999, 22.327),
        (3, 0.975, 3.182),
        (4, 0.9, 1.533),
        (5, 0.975, 2.571),
        (5, 0.999, 5.893),
        (30, 0.975, 2.042),
        (120, 0.95, 1.658),
        (4999, 0.975, 1.960),
        (7, 0.5, 0.0),
    ],
)
def test_quantiles_of_student(freedom: int, share: float, quantile: float) -> None:
    assert student(freedom, share) == pytest.approx(quantile, abs=6e-4)
