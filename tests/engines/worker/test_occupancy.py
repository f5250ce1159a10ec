"""For how long an engine is busy, and with how many requests."""

from contextlib import ExitStack

import pytest

from silkline.core import Health
from silkline.engines.worker.occupancy import Occupancy

IDLE = Health(running=0, queued=0, seconds_since_progress=0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_busy_seconds_are_the_union_and_slot_seconds_the_sum() -> None:
    clock = Clock()
    occupancy = Occupancy(clock)

    def counted() -> tuple[float, float]:
        health = occupancy.added_to(IDLE)
        return health.busy_seconds, health.slot_seconds

    clock.now += 10  # idle
    assert counted() == (0, 0)
    with occupancy.request():
        clock.now += 1
        with ExitStack() as others:
            for _ in range(3):
                others.enter_context(occupancy.request())
            clock.now += 2
            assert counted() == pytest.approx((3, 9))  # while they run
        clock.now += 1
    clock.now += 5
    assert counted() == pytest.approx((4, 10))


def test_a_request_that_fails_ends() -> None:
    clock = Clock()
    occupancy = Occupancy(clock)

    def fail() -> None:
        with occupancy.request():
            clock.now += 1
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()
    clock.now += 1
    assert occupancy.added_to(IDLE).busy_seconds == 1
