"""MLPerf's scenarios: the rate that holds, what makes a run invalid, the order of samples."""

from collections import Counter

import pytest

from silkline.bench.mlperf import Scenario, offline, server, within
from silkline.bench.record import Run
from silkline.bench.report.mlperf import mlperf_page
from silkline.bench.schedule import make_schedule
from silkline.bench.spec import Arrivals, Traffic
from tests.bench.runs import made_run, record


class Machine:
    """Answers so many requests a second in time; above that rate all take twice the limit."""

    def __init__(self, capacity: float, *, limit: float = 1.5) -> None:
        self.capacity, self.limit = capacity, limit
        self.played: list[Arrivals] = []

    async def play(self, arrivals: Arrivals) -> Run:
        self.played.append(arrivals)
        latency = 0.5 if arrivals.rate <= self.capacity else 2 * self.limit
        count = max(1, round(arrivals.rate * arrivals.seconds))
        run = made_run(*(record(n, latency=latency, cache="bypass") for n in range(count)))
        return Run(
            type(run.spec)(run.spec.targets, arrivals, run.spec.traffic),
            run.began, run.model, run.health, run.records,
        )  # fmt: skip


async def test_the_search_finds_the_highest_rate_that_holds() -> None:
    machine = Machine(7.0)
    found = await server(Scenario.INTERACTIVE, machine.play, 600, 100, 10.0, 1)
    assert 6.5 <= found.per_second <= 7.0
    assert machine.played[-1].seconds == 600
    assert all(each.seconds == 120 for each in machine.played[:-1])
    assert found.invalid == ()
    assert found.tried[-1] == (found.per_second, True)


async def test_a_rate_that_holds_only_in_trials_is_lowered() -> None:
    machine = Machine(7.0)
    trials = machine.play

    async def play(arrivals: Arrivals) -> Run:
        machine.capacity = 7.0 if arrivals.seconds < 600 else 6.5
        return await trials(arrivals)

    found = await server(Scenario.INTERACTIVE, play, 600, 100, 10.0, 1)
    assert 6.0 <= found.per_second <= 6.5
    assert [held for _, held in found.tried[-2:]] == [False, True]


async def test_nothing_that_holds_is_no_rate() -> None:
    found = await server(Scenario.SERVER, Machine(0.0, limit=12).play, 600, 10, 8.0, 1)
    assert found.per_second == 0
    assert any("not 99%" in why for why in found.invalid)


async def test_a_run_that_breaks_a_rule_says_which() -> None:
    async def play(arrivals: Arrivals) -> Run:
        lost = record(2, status=503, code="overloaded", cache="")
        return made_run(record(0, cache="hit"), record(1, cache="miss"), lost)

    found = await offline(play, 600, 4, 2, 1)
    assert (found.requests, found.failed) == (3, 1)
    assert found.per_second == pytest.approx(2 / 0.11)
    said = " ".join(found.invalid)
    for what in (
        "10 s of the 600 s",
        "4 samples",
        "1 answers came from a cache",
        "1 requests fail",
    ):
        assert what in said
    page = mlperf_page("http://a", "m", "set", 4, [found], [0.5], [("offline", said)])
    assert "Not a valid run" in page
    assert "79/s" in page


def test_a_failed_request_is_not_within_the_limit() -> None:
    run = made_run(record(0, latency=1.4), record(1, latency=1.6), record(2, status=500, code="x"))
    assert within(run, Scenario.INTERACTIVE) == pytest.approx(1 / 3)
    assert within(run, Scenario.SERVER) == pytest.approx(2 / 3)


def test_every_sample_is_sent_once_before_any_is_sent_again() -> None:
    schedule = make_schedule(Arrivals(10, 60), Traffic(rounds=True), 50)
    images = schedule.images.tolist()
    assert sorted(images[:50]) == list(range(50)) == sorted(images[50:100])
    assert images[:50] != images[50:100]
    assert max(Counter(images).values()) - min(Counter(images).values()) <= 1
