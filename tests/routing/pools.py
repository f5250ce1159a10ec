"""Pools of real workers, and what tests do to them."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from silkline.core import Answer, Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.routing.local import LocalReplica
from silkline.routing.pool import EnginePool
from tests.engines.asking import answer as answer_of_engine
from tests.processes import WORKER, children

LONG = Sampling(max_tokens=400)


@asynccontextmanager
async def pooled(
    *,
    replicas: int = 1,
    limit: int = 256,
    hang_timeout: float = 30.0,
    **extra: str,
) -> AsyncGenerator[EnginePool, None]:
    """A started pool of fake engines; nothing of it may be left when the block ends."""
    options = EngineOptions(extra=extra)
    workers = [
        WorkerSupervisor("fake", options, hang_timeout=hang_timeout, health_interval=0.05)
        for _ in range(replicas)
    ]
    async with started(pool_of(*workers, limit=limit)) as pool:
        yield pool


def pool_of(*workers: WorkerSupervisor, limit: int = 256) -> EnginePool:
    replicas = [LocalReplica(str(n), worker, limit=limit) for n, worker in enumerate(workers)]
    return EnginePool(replicas, seed=7)


@asynccontextmanager
async def started(pool: EnginePool) -> AsyncGenerator[EnginePool, None]:
    await pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()
        assert not children(WORKER)


async def answer(pool: EnginePool, asked: Request) -> Answer:
    """The whole answer; a pool gives the same streams as an engine."""
    return await answer_of_engine(pool, asked)  # type: ignore[arg-type]


async def outcome(pool: EnginePool, asked: Request) -> Answer | Exception:
    try:
        return await answer(pool, asked)
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error


def kill(pool: EnginePool, sent: signal.Signals = signal.SIGKILL, replica: int = 0) -> int:
    pid = pool.health().replicas[replica].pid
    assert pid is not None
    os.kill(pid, sent)
    return pid


def restarts(pool: EnginePool) -> int:
    return sum(replica.restarts for replica in pool.health().replicas)


def idle(pool: EnginePool) -> bool:
    health = pool.health()
    return health.in_flight == 0 and all(
        replica.in_flight == 0
        and replica.engine is not None
        and replica.engine.running == replica.engine.queued == 0
        for replica in health.replicas
    )
