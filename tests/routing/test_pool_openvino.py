"""Lost workers with a real engine in them."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator

import pytest

from silkline.core import Answer
from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import WorkerLost
from silkline.models.resolve import bundled_folder
from silkline.routing.pool import EnginePool
from tests.engines.asking import eventually, question
from tests.routing.pools import answer, idle, kill, outcome, pool_of, restarts, started

pytest.importorskip("openvino_genai")

OPTIONS = EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024, threads=2)


@pytest.fixture
async def pool() -> AsyncIterator[EnginePool]:
    worker = WorkerSupervisor("openvino", OPTIONS, hang_timeout=2.0, health_interval=0.05)
    async with started(pool_of(worker)) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_worker_loses_only_what_was_streamed(
    pool: EnginePool, sent: signal.Signals
) -> None:
    expected = [(await answer(pool, question(seed=n))).text for n in range(4)]
    asked = [question(seed=n % 4, stream=n % 2 == 0) for n in range(160)]
    readers = [asyncio.create_task(outcome(pool, each)) for each in asked]
    await eventually(lambda: pool.health().replicas[0].in_flight >= 20)
    kill(pool, sent)
    lost = time.monotonic()
    await eventually(lambda: restarts(pool) == 1 and pool.ready)
    assert time.monotonic() - lost < 10
    for n, (each, reader) in enumerate(zip(asked, readers, strict=True)):
        came = await reader
        if isinstance(came, Answer):
            assert came.text == expected[n % 4]
        else:
            assert isinstance(came, WorkerLost)
            assert each.stream
    await eventually(lambda: idle(pool))


async def test_clients_that_leave_leave_nothing_behind(pool: EnginePool) -> None:
    dice = random.Random(5)

    async def leave(n: int) -> None:
        async with asyncio.timeout(dice.random() * 0.2):
            await answer(pool, question(seed=n, stream=n % 2 == 0))

    await asyncio.gather(*(leave(n) for n in range(60)), return_exceptions=True)
    await eventually(lambda: idle(pool))
    assert restarts(pool) == 0
    await answer(pool, question())
