"""Cases 31 and 32: what becomes of a gateway's clients when Redis fails under load."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from silkline.bench.percentiles import percentile
from tests.cache.redis_server import RedisServer
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.fault_proxy import FaultProxy, Toxics, fault_proxy
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.load import arrivals
from tests.campaign.nemesis import restore_redis
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled, until
from tests.serving import Served, served

RATE = 40.0
"""Requests per second."""

MEMORY = ("--cache-memory-bytes", "0")
"""Nothing is kept in the gateway, so that Redis is asked each time."""

ENGINE = ("--engine", "fake", "--engine-options", "token_seconds=0.002")

Breaking = Callable[[RedisServer, FaultProxy], Awaitable[None]]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with closing(RedisServer(tmp_path)) as server:
        yield server
        server.thaw()


@asynccontextmanager
async def gateway(redis: RedisServer, seed: int) -> AsyncIterator[tuple[Served, FaultProxy]]:
    """A gateway whose Redis is behind a fault proxy."""
    async with fault_proxy(redis.port, seed=seed) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        with served(*ENGINE, *MEMORY, "--cache-redis", url) as running:
            yield running, proxy


def degraded(running: Served) -> bool:
    return metric(running.url, "silkline_cache_degraded", tier="redis") == 1


def hits(running: Served) -> float:
    return metric(running.url, "silkline_cache_reads_total", tier="redis", outcome="hit")


async def killed(redis: RedisServer, proxy: FaultProxy) -> None:
    await asyncio.to_thread(redis.kill)


async def frozen(redis: RedisServer, proxy: FaultProxy) -> None:
    redis.freeze()


async def reset(redis: RedisServer, proxy: FaultProxy) -> None:
    proxy.reset_all()
    await asyncio.sleep(0.5)
    proxy.reset_all()


async def unreachable(redis: RedisServer, proxy: FaultProxy) -> None:
    proxy.up = Toxics(black_hole=True)


async def full(redis: RedisServer, proxy: FaultProxy) -> None:
    redis.configure(maxmemory="1")


async def read_only(redis: RedisServer, proxy: FaultProxy) -> None:
    redis.admin.replicaof("127.0.0.1", "1")


async def slow(redis: RedisServer, proxy: FaultProxy) -> None:
    proxy.down = Toxics(latency_seconds=0.3, slice_bytes=5)


async def mended(redis: RedisServer, proxy: FaultProxy) -> None:
    """Undoes whatever was done."""
    proxy.up = proxy.down = Toxics()
    await restore_redis(redis)
    redis.admin.replicaof("NO", "ONE")
    redis.configure(maxmemory="0")


FAULTS: dict[str, Breaking] = {
    each.__name__: each for each in (killed, frozen, reset, unreachable, full, read_only, slow)
}


@pytest.mark.parametrize("seconds", sizes(1.2, 20))
async def test_faults_of_redis_cost_misses_only(
    seed: int, redis: RedisServer, seconds: float
) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(60)
    recoveries, latencies = {}, {}
    async with gateway(redis, seed) as (running, proxy):
        client = Client(running.host_and_port, history)
        before = await idle(running)

        async def load(name: str, duration: float, stop: asyncio.Event | None = None) -> None:
            async def come(place: int) -> None:
                chosen = questions[int(asker.chance.paretovariate(0.7)) % len(questions)]
                await client.ask(f"{name}-{place}", chosen, Manner(deadline_seconds=10))

            began = len(history.operations)
            await arrivals(RATE, duration, asker.chance, come, stop)
            taken = [each.seconds for each in history.operations[began:]]
            latencies[name] = round(percentile(taken, 0.99), 3)

        async def recovered(name: str) -> float:
            so_far, stop = hits(running), asyncio.Event()
            again = asyncio.create_task(load(f"after-{name}", 60, stop))
            try:
                return await until(
                    lambda: not degraded(running) and hits(running) > so_far,
                    f"no hits after {name}",
                )
            finally:
                stop.set()
                await again

        await load("sound", seconds)
        for name, breaking in FAULTS.items():
            with history.fault(name):
                asking = asyncio.create_task(load(name, seconds))
                await asyncio.sleep(0.3)
                await breaking(redis, proxy)
                await asking
                await mended(redis, proxy)
            recoveries[name] = round(await recovered(name), 2)
        await settled(running, before)
        assert metric(running.url, "silkline_requests_total", code="500") == 0
    assert_no_defects(running)
    record(
        "32-redis-faults", seed=seed, whole=seconds > 2, requests=len(history.operations),
        outcomes=history.outcomes(), p99_seconds=latencies, recovered_after_seconds=recoveries,
    )  # fmt: skip
    assert not violations(history)
    assert len(history.answered()) == len(history.operations)
    assert max(recoveries.values()) <= 10


@pytest.mark.parametrize("requests", sizes(200, 10_000))
async def test_a_reply_of_redis_never_goes_to_another(
    seed: int, redis: RedisServer, requests: float
) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(int(requests) // 2, streamed=0)
    async with gateway(redis, seed) as (running, proxy):
        client = Client(running.host_and_port, history)
        before = await idle(running)
        for place in range(0, len(questions), 50):
            await asyncio.gather(
                *(
                    client.ask(f"first-{place}-{number}", question)
                    for number, question in enumerate(questions[place : place + 50])
                )
            )
        proxy.down = Toxics(latency_seconds=0.01, jitter_seconds=0.02)
        at_once = asyncio.Semaphore(30)

        async def cancelled(place: int) -> None:
            async with at_once:
                leave = asker.chance.uniform(0.0, 0.06) if place % 2 else None
                await client.ask(f"again-{place}", questions[place], Manner(leave_seconds=leave))

        await asyncio.gather(*(cancelled(place) for place in range(len(questions))))
        proxy.down = Toxics()
        await settled(running, before)
    assert_no_defects(running)
    states = [each.state for each in history.answered() if each.id.startswith("again")]
    record(
        "31-cancelled-redis", seed=seed, whole=requests > 200, outcomes=history.outcomes(),
        states={state: states.count(state) for state in set(states)},
    )  # fmt: skip
    assert not violations(history)
    assert history.outcomes()["left"] > requests / 20
