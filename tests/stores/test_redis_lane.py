"""The lane by itself: order, limits, and a task that always finds back to work."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from silkline.aio import breaker as breaker_module
from silkline.aio.breaker import FAILURES_TO_OPEN
from silkline.stores.redis_lane import MAX_JOBS_AT_ONCE, MAX_WAITING, Lane
from tests.engines.asking import eventually


@dataclass
class Work:
    """Doubles numbers, when it is allowed to."""

    batches: list[list[int]] = field(default_factory=list)
    seconds: float = 0.0
    fails: bool = False
    error: type[Exception] = OSError
    probes: int = 0

    async def double(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append(list(jobs))
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise self.error
        return [2 * job for job in jobs]

    async def probe(self) -> None:
        self.probes += 1
        if self.fails:
            raise self.error


@asynccontextmanager
async def lane(work: Work, timeout_seconds: float = 5.0) -> AsyncGenerator[Lane[int, int], None]:
    made = Lane[int, int](
        "test", work.double, work.probe, faults=(OSError,), timeout_seconds=timeout_seconds
    )
    yield made
    await made.aclose()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "RETRY_SECONDS", 0.02)


async def test_jobs_share_round_trips_and_get_their_own_results() -> None:
    work = Work(seconds=0.001)
    async with lane(work) as made:
        results = await asyncio.gather(*(made.do(number) for number in range(500)))
    assert results == [2 * number for number in range(500)]
    assert [job for batch in work.batches for job in batch] == list(range(500))
    assert max(map(len, work.batches)) == MAX_JOBS_AT_ONCE
    assert len(work.batches) == -(-500 // MAX_JOBS_AT_ONCE)


async def test_who_has_left_costs_no_work() -> None:
    work = Work(seconds=0.05)
    async with lane(work) as made:
        first = asyncio.create_task(made.do(1))
        await asyncio.sleep(0.01)
        gone = [asyncio.create_task(made.do(number)) for number in range(2, 10)]
        last = asyncio.create_task(made.do(10))
        await asyncio.sleep(0.01)
        for task in gone:
            task.cancel()
        assert await first == 2
        assert await last == 20
    assert work.batches == [[1], [10]]


async def test_too_many_waiting_get_nothing_at_once() -> None:
    work = Work(seconds=0.2)
    async with lane(work) as made:
        tasks = [asyncio.create_task(made.do(n)) for n in range(MAX_WAITING + 200)]
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in tasks) >= 100
        for task in tasks:
            task.cancel()


async def test_failures_open_it_and_its_own_probe_closes_it() -> None:
    work = Work(fails=True)
    async with lane(work) as made:
        for _ in range(FAILURES_TO_OPEN):
            assert await made.do(1) is None
        batches = len(work.batches)
        for _ in range(50):
            assert await made.do(1) is None
        assert len(work.batches) == batches
        await eventually(lambda: work.probes >= 2)
        work.fails = False
        await eventually(lambda: not made.breaker.open)
        assert await made.do(1) == 2


async def test_an_error_that_nobody_expects_does_not_end_its_task() -> None:
    work = Work(fails=True, error=LookupError)
    async with lane(work) as made:
        for _ in range(FAILURES_TO_OPEN):
            assert await made.do(1) is None
        work.fails = False
        await eventually(lambda: not made.breaker.open)
        assert await made.do(1) == 2


@pytest.mark.slow
async def test_slow_work_is_not_waited_for_and_then_left_alone() -> None:
    work = Work(seconds=1.0)
    async with lane(work, timeout_seconds=0.02) as made:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await made.do(1) is None
        assert loop.time() - started < work.seconds
        while not made.breaker.open:
            assert await made.do(1) is None
        assert len(work.batches) == FAILURES_TO_OPEN
        await eventually(lambda: not made.breaker.open)
        assert work.probes == 1


async def test_one_late_round_trip_of_many_jobs_does_not_open_it() -> None:
    work = Work(seconds=0.1)
    async with lane(work, timeout_seconds=0.02) as made:
        assert await asyncio.gather(*(made.do(n) for n in range(50))) == [None] * 50
        await eventually(lambda: made.breaker.errors == 1)
        assert made.breaker.degraded
        assert not made.breaker.open
        work.seconds = 0.0
        assert await made.do(1) == 2
        assert not made.breaker.degraded


async def test_closing_gives_nothing_to_those_who_wait() -> None:
    work = Work(seconds=1.0)
    async with lane(work) as made:
        waiting = [asyncio.create_task(made.do(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(made.do(4)))
        await asyncio.sleep(0.01)
        await made.aclose()
        assert await asyncio.gather(*waiting) == [None] * 4
        assert await made.do(5) is None


async def test_it_closes_when_the_work_swallows_being_cancelled() -> None:
    started = asyncio.Event()

    async def stubborn(jobs: Sequence[int]) -> list[int]:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        return list(jobs)

    made = Lane[int, int]("test", stubborn, Work().probe, faults=(OSError,), timeout_seconds=5.0)
    waiting = asyncio.create_task(made.do(1))
    await started.wait()
    async with asyncio.timeout(2):
        await made.aclose()
    assert await waiting == 1
