"""How many at once: as many as give the most answers in time."""

from collections.abc import Callable

import pytest

from silkline.admission.concurrency import SECONDS_FRESH, SECONDS_KEPT, Concurrency

PLACES = 16


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def full(concurrency: Concurrency, seconds: Callable[[int], float], answers: int = 300) -> int:
    """Keeps all places taken that may be; `seconds` by how many are."""
    for _ in range(answers):
        taken = concurrency.limit(PLACES)
        concurrency.note(taken / PLACES, seconds(taken) / 20, usual_work=20)
    return concurrency.limit(PLACES)


def test_without_an_aim_nothing_is_limited() -> None:
    assert full(Concurrency(0.0, Clock()), lambda taken: 0.1 * taken) == PLACES


def test_before_an_answer_nothing_is_limited() -> None:
    assert Concurrency(1.0, Clock()).limit(PLACES) == PLACES


@pytest.mark.parametrize(
    ("alone", "each", "least", "most"),
    [
        (0.0, 0.1, 5, 7),  # nothing is gained by a batch: as many as are in time
        (0.4, 0.06, 3, 6),  # something is
        (0.1, 0.02, PLACES, PLACES),  # all are in time
        (0.9, 0.0, PLACES, PLACES),  # fewer at once would not be faster
        (5.0, 0.1, PLACES, PLACES),  # none is in time, however few
    ],
)
def test_a_full_batch_that_is_too_slow_is_made_smaller(
    alone: float, each: float, least: int, most: int
) -> None:
    concurrency = Concurrency(1.0, Clock())
    assert least <= full(concurrency, lambda taken: alone + each * taken) <= most


@pytest.mark.parametrize("pause", [SECONDS_FRESH + 1, SECONDS_KEPT + 1])
def test_engines_that_get_faster_are_used_in_full_again(pause: float) -> None:
    clock = Clock()
    concurrency = Concurrency(1.0, clock)
    assert full(concurrency, lambda taken: 0.1 * taken) < 8
    clock.now += pause
    assert full(concurrency, lambda taken: 0.01 * taken) == PLACES


def test_a_share_is_kept_when_replicas_come_and_go() -> None:
    concurrency = Concurrency(1.0, Clock())
    limit = full(concurrency, lambda taken: 0.1 * taken)
    assert concurrency.limit(2 * PLACES) == 2 * limit
    assert concurrency.limit(1) == 1
    assert concurrency.limit(0) == 0
