"""The acceptance cases of lost, poisoned, stopped and starved workers; the whole ones are full."""

import asyncio
import random
import signal
import time
from contextlib import aclosing, suppress

import pytest

from silkline.core import Answer
from silkline.errors import DeadlineExceeded, Overloaded, Quarantined, WorkerLost
from silkline.routing.pool import EnginePool
from tests.engines.asking import eventually, question
from tests.routing.pools import LONG, answer, idle, kill, outcome, pooled, restarts

FULL = pytest.mark.full


def engine_is_empty(pool: EnginePool) -> bool:
    return all(
        replica.engine is not None and not replica.engine.running and not replica.engine.queued
        for replica in pool.health().replicas
    )


def arrived(pool: EnginePool) -> int:
    """Requests that came so far, also those that were answered before the last one came."""
    health = pool.health()
    return health.waiting + sum(replica.requests for replica in health.replicas)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "requests", "limit"),
    [(2, 60, 20), pytest.param(1, 200, 20, marks=FULL), pytest.param(2, 200, 128, marks=FULL)],
)
async def test_36_a_killed_worker_loses_nothing(replicas: int, requests: int, limit: int) -> None:
    async with pooled(
        replicas=replicas, limit=limit, token_seconds="0.05", answer_words="8"
    ) as pool:
        expected = (await answer(pool, question(seed=0))).text
        asked = [
            question(f"{n}", seed=n % 5, stream=n % 2 == 0, timeout_seconds=60)
            for n in range(requests)
        ]
        readers = [asyncio.create_task(outcome(pool, each)) for each in asked]
        await eventually(lambda: arrived(pool) == 1 + requests)
        await asyncio.sleep(0.03)
        in_flight = pool.health().replicas[0].in_flight
        assert in_flight
        kill(pool)
        killed = time.monotonic()
        await eventually(
            lambda: restarts(pool) == 1 and all(each.ready for each in pool.health().replicas)
        )
        assert time.monotonic() - killed < 10
        outcomes = await asyncio.gather(*readers)
        lost = [each for each in outcomes if not isinstance(each, Answer)]
        assert all(isinstance(each, WorkerLost) for each in lost)
        assert len(lost) <= in_flight
        for each, came in zip(asked, outcomes, strict=True):
            assert each.stream or isinstance(came, Answer)
        assert restarts(pool) == 1
        await eventually(lambda: idle(pool))
        assert (await answer(pool, question(seed=0))).text == expected


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 3])
async def test_37_poison_costs_two_workers_of_several(replicas: int) -> None:
    async with pooled(
        replicas=replicas, crash_on_text="<poison>", token_seconds="0.005", answer_words="6"
    ) as pool:
        innocent = [question(f"good {n}", seed=n, stream=False) for n in range(12)]
        readers = [asyncio.create_task(answer(pool, each)) for each in innocent]
        for _ in range(3):
            with pytest.raises(Quarantined):
                await answer(pool, question("<poison>", stream=False))
        assert all(each.text for each in await asyncio.gather(*readers))
        await eventually(lambda: idle(pool))
        assert restarts(pool) == 2


@pytest.mark.slow
async def test_38_traffic_leaves_a_stopped_worker() -> None:
    async with pooled(replicas=2, limit=20, hang_timeout=60, token_seconds="0.002") as pool:
        for start in range(0, 40, 8):
            await asyncio.gather(*(answer(pool, question(seed=start + n)) for n in range(8)))
        kill(pool, signal.SIGSTOP)
        stopped = time.monotonic()
        readers: list[asyncio.Task[Answer | Exception]] = []
        while not pool.health().replicas[0].ejected:
            assert time.monotonic() - stopped < 5
            asked = question(seed=len(readers), timeout_seconds=6)
            readers.append(asyncio.create_task(outcome(pool, asked)))
            await asyncio.sleep(0.05)
        assert pool.ready
        for n in range(20):
            assert (await answer(pool, question(seed=n, timeout_seconds=2))).text
        outcomes = await asyncio.gather(*readers)
        assert {type(each) for each in outcomes} == {Answer, DeadlineExceeded}
        kill(pool)
        await eventually(lambda: restarts(pool) == 1 and idle(pool))


@FULL
async def test_38_a_stopped_worker_is_told_of_by_default_within_fifteen_seconds() -> None:
    async with pooled(token_seconds="0.01") as pool:
        asked = question(stream=False, timeout_seconds=12)
        reader = asyncio.create_task(outcome(pool, asked))
        await asyncio.sleep(0.02)
        kill(pool, signal.SIGSTOP)
        await eventually(lambda: not pool.ready, seconds=15)
        assert isinstance(await reader, DeadlineExceeded)
        await eventually(lambda: restarts(pool) == 1 and pool.ready, seconds=40)
        assert (await answer(pool, question())).text


async def test_39_one_request_that_needs_too_much_memory_harms_no_other() -> None:
    async with pooled(oom_on_text="<oom>", token_seconds="0.01") as pool:
        mates = [asyncio.create_task(answer(pool, question(seed=n))) for n in range(6)]
        await asyncio.sleep(0.02)
        refused = await asyncio.gather(*(outcome(pool, question("<oom>", seed=n)) for n in (1, 2)))
        assert all(isinstance(each, Overloaded) and each.retry_after for each in refused)
        assert all(each.text for each in await asyncio.gather(*mates))
        assert restarts(pool) == 0
        assert not pool.health().replicas[0].errors


@pytest.mark.parametrize(("replicas", "leave"), [(2, 150), pytest.param(1, 1000, marks=FULL)])
async def test_40_clients_that_leave_at_random_leave_nothing(replicas: int, leave: int) -> None:
    dice = random.Random(40)
    async with pooled(
        replicas=replicas, limit=20, token_seconds="0.003", answer_words="40"
    ) as pool:
        await answer(pool, question())
        tasks = len(asyncio.all_tasks())

        async def one(n: int) -> None:
            await asyncio.sleep(dice.random() * leave / 400)
            asked = question(seed=n, sampling=LONG, stream=n % 2 == 0)
            with suppress(TimeoutError):
                async with asyncio.timeout(dice.random() * 0.2):
                    await answer(pool, asked)

        await asyncio.gather(*(one(n) for n in range(leave)))
        await eventually(lambda: engine_is_empty(pool) and not pool.health().in_flight)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        assert idle(pool)
        assert restarts(pool) == 0
        assert (await answer(pool, question())).text


async def test_40_leaving_reaches_the_engine_at_once() -> None:
    """Their answers would take 30 seconds."""
    async with pooled(replicas=2, token_seconds="0.1", answer_words="300") as pool:
        readers = [
            asyncio.create_task(answer(pool, question(seed=n, sampling=LONG, stream=n % 2 == 0)))
            for n in range(16)
        ]
        await eventually(lambda: not engine_is_empty(pool))
        async with aclosing(pool.generate(question(sampling=LONG))) as stream:
            await anext(stream)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await eventually(lambda: engine_is_empty(pool))
