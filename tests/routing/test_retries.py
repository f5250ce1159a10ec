"""The budget of retries."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.routing.retries import FLOOR_PER_SECOND, MAX_SAVED, SHARE, RetryBudget
from tests.routing.clock import Clock


@given(st.lists(st.sampled_from(["request", "retry", "second"]), max_size=400))
def test_there_are_never_more_retries_than_the_share_and_the_floor_give(events: list[str]) -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    requests = retries = 0
    for event in events:
        if event == "second":
            clock.now += 1
        elif event == "request":
            budget.request()
            requests += 1
        else:
            retries += budget.spend()
        most = 10 + SHARE * requests + FLOOR_PER_SECOND * (clock.now - 1000)
        assert retries <= most + 1e-6


def test_where_all_fail_one_in_ten_is_tried_again() -> None:
    budget = RetryBudget(Clock())
    while budget.spend():
        pass
    retries = 0
    for _ in range(1000):
        budget.request()
        retries += budget.spend()
    assert retries == 100


def test_the_odd_failure_at_night_is_mended() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    while budget.spend():
        pass
    for _ in range(5):
        clock.now += 60
        budget.request()
        assert budget.spend()


def test_no_more_is_saved_than_one_fall_may_need() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(100_000):
        budget.request()
    clock.now += 1_000_000
    spent = sum(budget.spend() for _ in range(1000))
    assert spent == MAX_SAVED
