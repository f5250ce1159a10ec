"""The circuit breaker: when it opens, whom it lets through, what it logs."""

import logging

import pytest

from silkline.aio.breaker import FAILURES_TO_OPEN, RETRY_SECONDS, Breaker
from silkline.observe.logs import FIELDS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker:
    breaker = Breaker("redis", clock=clock)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.attempt()
        breaker.failed(OSError())
    return breaker


def test_single_failures_do_not_open_it() -> None:
    breaker = Breaker("redis", clock=Clock())
    for _ in range(10):
        breaker.failed(OSError())
        assert breaker.degraded
        assert breaker.attempt()
        breaker.succeeded()
    assert not breaker.degraded
    assert breaker.errors == 10


def test_failures_in_a_row_open_it_until_one_attempt_is_due() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert breaker.open
    assert not breaker.attempt()
    clock.now += RETRY_SECONDS / 2
    assert breaker.seconds_to_retry == pytest.approx(RETRY_SECONDS / 2)
    assert not breaker.attempt()
    clock.now += RETRY_SECONDS / 2
    assert breaker.attempt()
    assert not breaker.attempt()


def test_a_failed_attempt_keeps_it_open_and_a_good_one_closes_it() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += RETRY_SECONDS
    assert breaker.attempt()
    breaker.failed(OSError())
    assert not breaker.attempt()
    clock.now += RETRY_SECONDS
    assert breaker.attempt()
    breaker.succeeded()
    assert not breaker.open
    assert all(breaker.attempt() for _ in range(10))


def test_an_attempt_that_never_ends_does_not_keep_it_open_for_good() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += RETRY_SECONDS
    assert breaker.attempt()
    clock.now += RETRY_SECONDS
    assert breaker.attempt()


def test_an_outage_is_logged_once_and_without_the_error_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaker = Breaker("redis, reading", clock=Clock())
    with caplog.at_level(logging.INFO, "silkline.cache"):
        for _ in range(100):
            breaker.failed(OSError("at 10.1.2.3 with secret"))
        breaker.succeeded()
        breaker.succeeded()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    told = [getattr(record, FIELDS) for record in caplog.records]
    assert told[0] == {"silkline.tier": "redis, reading", "error.type": "OSError"}
    assert "secret" not in caplog.text
