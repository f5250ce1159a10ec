"""What counts as slow, on a clock of the test's."""

from silkline.routing.slowness import MIN_WAITS, LatencyTracker
from tests.routing.clock import Clock


def waits(pace: LatencyTracker, clock: Clock, *seconds: float, kind: str = "a") -> None:
    for each in seconds:
        wait = pace.begin(kind)
        clock.now += each
        pace.answered(wait)


def test_slow_is_much_slower_than_usual() -> None:
    clock = Clock()
    pace = LatencyTracker(clock)
    waits(pace, clock, *[0.1] * 20)
    assert pace.slow_in_a_row() == 0
    waits(pace, clock, 0.9, 1.0)  # nine times as long, but who would mind
    assert pace.slow_in_a_row() == 0
    waits(pace, clock, 3.0, 3.0)
    assert pace.slow_in_a_row() == 2
    waits(pace, clock, 0.1)
    assert pace.slow_in_a_row() == 0


def test_what_is_usual_differs_by_kind_and_must_be_known() -> None:
    clock = Clock()
    pace = LatencyTracker(clock)
    waits(pace, clock, *[20.0] * 20, kind="long")
    waits(pace, clock, *[0.1] * (MIN_WAITS - 1))
    waits(pace, clock, 9.0)
    assert pace.slow_in_a_row() == 0
    waits(pace, clock, 30.0, kind="long")
    assert pace.slow_in_a_row() == 0
    waits(pace, clock, *[0.1] * 30)
    waits(pace, clock, 20.0)
    assert pace.slow_in_a_row() == 1


def test_what_takes_long_elsewhere_too_is_not_slow() -> None:
    clock = Clock()
    pace, peer = LatencyTracker(clock), LatencyTracker(clock)
    pace.compare_with([peer])
    for _ in range(5):
        waits(peer, clock, *[0.1] * 20, 5.0)
    waits(pace, clock, *[0.1] * 20, 5.0, 6.0, 7.0)
    assert pace.slow_in_a_row() == 0
    waits(peer, clock, *[0.1] * 300)
    waits(pace, clock, *[0.1] * 30, 5.0)
    assert pace.slow_in_a_row() == 1


def test_one_that_is_never_answered_is_enough() -> None:
    clock = Clock()
    pace = LatencyTracker(clock)
    waits(pace, clock, *[0.1] * 20)
    pace.begin("a")
    clock.now += 3.5
    assert pace.slow_in_a_row() == 3


def test_those_that_still_wait_count_and_so_do_those_that_gave_up() -> None:
    clock = Clock()
    pace = LatencyTracker(clock)
    waits(pace, clock, *[0.1] * 20)
    stuck = [pace.begin("a") for _ in range(3)]
    assert pace.slow_in_a_row() == 0
    clock.now += 1.5
    assert pace.slow_in_a_row() == 3
    for wait in stuck:
        pace.left(wait)
        pace.left(wait)
        assert wait.slow
    assert pace.slow_in_a_row() == 3
    gone = pace.begin("a")
    pace.left(gone)
    assert not gone.slow
    pace.forgive()
    assert pace.slow_in_a_row() == 0


def test_what_lasts_becomes_usual() -> None:
    clock = Clock()
    pace = LatencyTracker(clock)
    waits(pace, clock, *[1.0] * 20)
    waits(pace, clock, *[8.0] * 200)
    assert pace.slow_in_a_row() == 0
