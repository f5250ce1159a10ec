"""How fast the engines are, when to come back, and who may still ask the cache."""

import random

import pytest

from silkline.admission.throughput import MAX_RETRY_SECONDS, LookupCredit, RetryTimes, Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_told_before_there_is_evidence() -> None:
    pace = Throughput()
    for _ in range(3):
        assert pace.speed is None
        pace.note(10, 2, occupancy=1)
    pace.note(10, 2, occupancy=1)
    assert pace.speed == pytest.approx(5)


def test_a_quiet_hour_does_not_hide_how_slow_full_engines_are() -> None:
    pace = Throughput()
    for _ in range(100):
        pace.note(10, 2, occupancy=1)
    for _ in range(200):
        pace.note(10, 0.2, occupancy=1 / 16)
    speed = pace.speed
    assert speed is not None
    assert speed < 10


def test_a_slowdown_is_seen_within_a_few_answers() -> None:
    pace = Throughput()
    for _ in range(1000):
        pace.note(10, 1, occupancy=1)
    for _ in range(60):
        pace.note(10, 10, occupancy=1)
    speed = pace.speed
    assert speed is not None
    assert speed < 1.3


def test_those_refused_together_are_told_different_times() -> None:
    clock = Clock()
    comebacks = RetryTimes(clock)
    told = [comebacks.seconds("a", excess=2.0, service=0.5) for _ in range(8)]
    assert told == [2, 3, 3, 4, 4, 5, 5, 6]
    assert comebacks.seconds("b", excess=2.0, service=0.5) == 2
    clock.now += 100
    assert comebacks.seconds("a", excess=2.0, service=0.5) == 2


def test_the_time_told_is_bounded_and_so_is_what_is_kept() -> None:
    clock = Clock()
    comebacks = RetryTimes(clock, max_tenants=10)
    assert {comebacks.seconds("a", 1e9, 1e9) for _ in range(5)} == {MAX_RETRY_SECONDS}
    assert comebacks.seconds("b", 0.0, 0.0) == 1
    for number in range(100):
        comebacks.seconds(str(number), 1.0, 1.0)
    assert len(comebacks._next) == 10


@pytest.mark.parametrize(("hit_share", "least", "most"), [(0.0, 0.05, 0.08), (0.9, 0.95, 1.0)])
def test_cached_answers_pay_for_lookups_in_vain(
    hit_share: float, least: float, most: float
) -> None:
    dice = random.Random(1)
    lookups = LookupCredit()
    looked = 0
    for _ in range(5000):
        if lookups.allow():
            looked += 1
            if dice.random() < hit_share:
                lookups.found(allowed=True)
    assert least <= looked / 5000 <= most
