"""When a worker counts as stuck, on a clock of the test's."""

from silkline.engines.worker.progress import HALF_LIFE_SECONDS, READY_STALL_SECONDS, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def watched(progress: Progress, clock: Clock, seconds: float, *, answers: bool = True) -> float:
    """A step of so many seconds; tells for how long of it the worker was not ready."""
    unready = 0.0
    for n in range(int(seconds)):
        clock.now += 1
        unready += not progress.is_progressing
        if answers:
            progress.answered(n + 1 - 0.01)  # an answer takes its time
    progress.answered(0.0)
    return unready


def test_a_stuck_worker_is_not_ready_first_and_then_replaced() -> None:
    for answers in (True, False):
        clock = Clock()
        progress = Progress(30.0, clock)
        for second in range(1, 40):
            clock.now += 1
            assert progress.is_progressing == (second < READY_STALL_SECONDS)
            assert progress.is_stuck == (second > 30)
            if answers:
                progress.answered(float(second))


def test_a_model_whose_steps_are_long_stays_ready_once_that_is_known() -> None:
    for answers in (True, False):
        clock = Clock()
        progress = Progress(60.0, clock)
        assert watched(progress, clock, 14, answers=answers) > 0
        for _ in range(20):
            assert not watched(progress, clock, 14, answers=answers)
        assert watched(progress, clock, 40, answers=answers) > 0


def test_what_was_long_once_is_forgotten() -> None:
    clock = Clock()
    progress = Progress(60.0, clock)
    watched(progress, clock, 14)
    for _ in range(int(2 * HALF_LIFE_SECONDS)):
        clock.now += 1
        progress.answered(0.0)
    assert watched(progress, clock, 14) > 0


def test_the_hang_timeout_is_the_most() -> None:
    clock = Clock()
    progress = Progress(12.0, clock)
    watched(progress, clock, 11)
    clock.now += 12.5
    assert not progress.is_progressing
    assert progress.is_stuck
    progress.restarted()
    assert progress.is_progressing
