"""The pools of several gateway processes over the same replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.limits import Limits
from silkline.admission.tenant import Tenant
from silkline.config import AdmissionSettings
from silkline.core import Answer
from silkline.errors import Quarantined
from silkline.routing.pool import EnginePool
from silkline.routing.quarantine import Quarantine
from silkline.service.shares import CapacityShare
from silkline.stores.memory import Region, SharedMemory
from tests.engines.asking import question
from tests.routing.pools import outcome
from tests.routing.scripted import INFO, ScriptedReplica

LIMIT = 6


class Process:
    """What one of several gateway processes has, over the replicas that all share."""

    def __init__(self, replica: ScriptedReplica, memory: SharedMemory) -> None:
        self.pool = EnginePool([replica], memory=memory)
        self.share = CapacityShare(memory)
        self.admission = Admission(AdmissionSettings(), lambda: self.share.of(self.pool.capacity()))

    async def ask(self, text: str) -> Answer | Exception:
        size = Size(10, (), 10)
        with self.admission.admit(Tenant("all"), size, INFO, timeout_seconds=60) as ticket:
            async with self.admission.turn(ticket):
                return await outcome(self.pool, question(text))

    async def ask_forever(self) -> None:
        while True:
            assert isinstance(await self.ask("busy"), Answer)


@asynccontextmanager
async def processes(replica: ScriptedReplica, count: int = 2) -> AsyncIterator[list[Process]]:
    descriptor = SharedMemory.create(count).descriptor
    memories = [SharedMemory(descriptor, count, index) for index in range(count)]
    made = [Process(replica, memory) for memory in memories]
    published = [process.share.published(process.pool.serve, process.admission) for process in made]
    for process, publishing in zip(made, published, strict=True):
        await process.pool.start()
        await publishing.__aenter__()
    try:
        yield made
    finally:
        for process, publishing in zip(made, published, strict=True):
            await publishing.__aexit__(None, None, None)
            await process.pool.aclose()


async def test_a_replica_gets_no_more_than_its_limit_from_all_processes() -> None:
    replica = ScriptedReplica("0", limit=LIMIT)
    replica.script.seconds = 0.01
    async with processes(replica) as both:
        asked = [process.ask(str(n)) for n in range(40) for process in both]
        answers = await asyncio.gather(*asked)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert replica.script.most_running == LIMIT


async def test_an_idle_process_leaves_its_slots_to_the_other() -> None:
    replica = ScriptedReplica("0", limit=LIMIT)
    replica.script.seconds = 0.05
    async with processes(replica) as (busy, _):
        await asyncio.gather(*(busy.ask(str(n)) for n in range(20)))
    assert replica.script.most_running == LIMIT


async def test_a_busy_process_does_not_starve_another() -> None:
    replica = ScriptedReplica("0", limit=1)  # fewer slots than processes: they take turns
    replica.script.seconds = 0.002
    async with processes(replica) as (busy, other):
        load = [asyncio.create_task(busy.ask_forever()) for _ in range(20)]
        async with asyncio.timeout(30):
            for n in range(5):
                assert isinstance(await other.ask(f"other {n}"), Answer)
        assert not any(task.done() for task in load)
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)


async def test_the_slots_of_a_dead_process_are_free_again() -> None:
    memory = SharedMemory.create(2)
    dead = SharedMemory(memory.descriptor, 2, 1)
    dead.counter(1).add(LIMIT)
    pool = EnginePool([ScriptedReplica("0", limit=LIMIT)], memory=memory)
    await pool.start()
    asked = asyncio.create_task(outcome(pool, question("x")))
    await asyncio.sleep(0.02)
    assert not asked.done()
    memory.forget(1)
    pool.serve()
    assert isinstance(await asked, Answer)
    await pool.aclose()


@pytest.mark.parametrize("count", [2, 3])
def test_rate_limits_are_those_of_one_process(count: int) -> None:
    descriptor = SharedMemory.create(count).descriptor
    limits = [
        Limits(lambda: 100.0, SharedMemory(descriptor, count, index).table(Region.LIMITS, 1))
        for index in range(count)
    ]
    tenant = Tenant("one", requests_per_minute=10)
    admitted = 0
    for number in range(100):
        mine = limits[number % count]
        if mine.check(tenant, 1) is None:
            mine.charge(tenant, requests=1, tokens=0)
            admitted += 1
    assert admitted == 10
    breaches = [mine.check(tenant, 1) for mine in limits]
    assert len(set(breaches)) == 1


def test_a_quarantined_request_is_refused_by_each_process() -> None:
    memory = SharedMemory.create(2)
    first, second = Quarantine(memory), Quarantine(SharedMemory(memory.descriptor, 2, 1))
    poison, other = question("poison"), question("other")
    first.death([poison], "worker-1")
    second.death([other, poison], "worker-1")  # the same death
    assert [record.strikes(poison) for record in (first, second)] == [1, 1]
    second.death([poison], "worker-2")
    for record in (first, second):
        with pytest.raises(Quarantined):
            record.check(poison)
        record.check(other)
