import itertools
import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.bench.schedule import make_schedule
from silkline.bench.spec import Arrivals, Burst, Traffic

LONG = Arrivals(rate=100, seconds=300)


def test_arrivals_are_poisson() -> None:
    """Their waits have the mean 1 / rate, and as much spread: an exponential distribution."""
    times = make_schedule(LONG, Traffic(), 10).times
    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(times) == pytest.approx(30_000, rel=0.03)
    assert statistics.fmean(waits) == pytest.approx(0.01, rel=0.03)
    assert statistics.pstdev(waits) == pytest.approx(0.01, rel=0.05)
    a_second = Counter(int(time) for time in times)
    counts = [a_second[second] for second in range(300)]
    assert statistics.pvariance(counts) == pytest.approx(100, rel=0.3)


def test_bursts_multiply_the_rate() -> None:
    burst = Burst(factor=3, seconds=20, every=60)
    arrivals = Arrivals(rate=50, seconds=240, burst=burst)
    schedule = make_schedule(arrivals, Traffic(), 10)
    for minute in range(1, 4):
        during = len(schedule.between(minute * 60, minute * 60 + 20))
        after = len(schedule.between(minute * 60 + 20, minute * 60 + 60))
        assert during == pytest.approx(50 * 3 * 20, rel=0.1)
        assert after == pytest.approx(50 * 40, rel=0.1)
    assert len(schedule.between(0, 60)) == pytest.approx(50 * 60, rel=0.1)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.5, 200),
    st.floats(0.5, 20),
    st.none() | st.builds(Burst, st.floats(0.1, 9), st.floats(0.1, 2), st.floats(2.1, 9)),
    st.integers(0, 9),
)
def test_a_schedule_lies_in_its_time_and_follows_from_its_seed(
    rate: float, seconds: float, burst: Burst | None, seed: int
) -> None:
    arrivals = Arrivals(rate, seconds, burst, seed)
    traffic = Traffic(new=0.1, near=0.1)
    schedule = make_schedule(arrivals, traffic, 50)
    assert list(schedule.times) == sorted(schedule.times)
    assert all(0 <= time < seconds for time in schedule.times)
    assert schedule == make_schedule(arrivals, traffic, 50)
    assert len(schedule) == len(schedule.images) == len(schedule.variants)
    assert list(schedule.between(0, seconds)) == list(range(len(schedule)))


def test_another_seed_is_another_schedule() -> None:
    one, other = (make_schedule(Arrivals(10, 10, seed=seed), Traffic(), 50) for seed in (1, 2))
    assert one.times != other.times


def test_popularity_is_zipf() -> None:
    catalogue = 1000
    pictures = Counter(make_schedule(LONG, Traffic(zipf=1.0), catalogue).images)
    harmonic = sum(1 / rank for rank in range(1, catalogue + 1))
    for rank in (1, 2, 5, 10):
        expected = 30_000 / harmonic / rank
        assert pictures[rank - 1] == pytest.approx(expected, rel=0.15)
    assert set(pictures) <= set(range(catalogue))


def test_without_an_exponent_all_are_alike() -> None:
    pictures = Counter(make_schedule(LONG, Traffic(zipf=0), 10).images)
    assert all(pictures[number] == pytest.approx(3000, rel=0.1) for number in range(10))


def test_new_pictures_are_never_sent_twice_and_near_ones_are_of_the_catalogue() -> None:
    schedule = make_schedule(LONG, Traffic(new=0.02, near=0.05), 500)
    fresh = [number for number in schedule.images if number >= 500]
    assert len(fresh) == len(set(fresh)) == pytest.approx(600, rel=0.15)
    assert fresh == list(range(500, 500 + len(fresh)))
    pairs = zip(schedule.images, schedule.variants, strict=True)
    near = [number for number, variant in pairs if variant]
    assert len(near) == pytest.approx(1500, rel=0.1)
    assert max(near) < 500
