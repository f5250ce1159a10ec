"""A fleet and its places, with a directory of this process in the place of Ray's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from silkline.config import ModelSettings
from silkline.core import Health
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker.address import NetworkAddress
from silkline.engines.worker.server import WorkerServer
from silkline.engines.worker.status import WorkerState, WorkerStatus
from silkline.errors import ConfigError, EnvironmentFault
from silkline.routing.local import LocalReplica
from silkline.routing.pool import EnginePool
from silkline.service.ray import cluster, fleet
from silkline.service.ray.directory import LEASE_SECONDS, Directory, Entry, Load
from silkline.service.ray.fleet import Fleet, application_name
from tests.engines.asking import eventually, question

SETTINGS = ModelSettings(engine="fake", on="ray", workers=1, max_workers=3)


class Method:
    """A method of an actor."""

    def __init__(self, method: Any, down: asyncio.Event) -> None:
        self._method = method
        self._down = down

    def remote(self, *arguments: Any) -> Coroutine[Any, Any, Any]:
        return self._call(*arguments)

    async def _call(self, *arguments: Any) -> Any:
        if self._down.is_set():
            raise RuntimeError("the actor is gone")
        return self._method(*arguments)


class Cluster:
    """What a fleet asks of Ray."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.down = asyncio.Event()
        self.kept = Directory(lambda: self.now)
        self.deployed: list[str] = []
        self.removed: list[str] = []
        self.loads: list[Load] = []
        self.fault = ""
        monkeypatch.setattr(fleet, "_LOOK_SECONDS", 0.05)
        monkeypatch.setattr(cluster, "connect", connected)
        monkeypatch.setattr(cluster, "directory", lambda: self)
        monkeypatch.setattr(cluster, "deploy", lambda name, wanted: self.deployed.append(name))
        monkeypatch.setattr(cluster, "remove", self.removed.append)

    def __getattr__(self, name: str) -> Method:
        return Method(getattr(self.kept, name), self.down)

    def tell(self, entry: Entry) -> None:
        self.kept.renew(application_name(SETTINGS), entry.id, msgspec.json.encode(entry))


@asynccontextmanager
async def worker(name: str) -> AsyncGenerator[tuple[Entry, WorkerServer], None]:
    """A worker that listens, and what it would tell the directory."""
    engine = create_engine("fake", EngineOptions())
    await engine.start()
    server = WorkerServer(engine, NetworkAddress("127.0.0.1", 0, name * 32))
    await server.start()
    status = WorkerStatus(
        WorkerState.SERVING, socket=str(server.address), ready=True, pid=7, health=Health(0, 0, 0.0)
    )
    yield Entry(id=name, number=1, status=status), server
    await server.stop(0)
    await engine.aclose()


async def connected(address: str) -> None:
    """Does nothing: there is no cluster."""


@pytest.fixture
async def ray(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


@asynccontextmanager
async def started(ray: Cluster) -> AsyncGenerator[tuple[Fleet, EnginePool], None]:
    made = Fleet(SETTINGS, lambda: Load(waiting=5), clock=lambda: ray.now)
    replicas = [LocalReplica(str(n), each, limit=4) for n, each in enumerate(made.workers)]
    pool = EnginePool(replicas, seed=1)
    await pool.start()
    yield made, pool
    await pool.aclose()


async def said(by: Engine | EnginePool) -> str:
    """The text of an answer."""
    return "".join([delta.text async for delta in by.generate(question())])


def newer(entry: Entry, by: int = 1, **changes: Any) -> Entry:
    return msgspec.structs.replace(entry, number=entry.number + by, **changes)


async def test_it_serves_with_the_workers_that_tell_of_themselves(ray: Cluster) -> None:
    async with worker("a") as (a, _), worker("b") as (b, _):
        ray.tell(a)
        async with started(ray) as (made, pool):
            assert [each.ready for each in made.workers] == [True, False, False]
            assert made.workers[1].state is WorkerState.STARTING
            assert pool.capacity() == 4
            assert await said(pool)
            ray.tell(b)
            await eventually(lambda: pool.capacity() == 8)
            told = msgspec.json.decode(ray.kept.renew(made.application, "a", b"{}"), type=Load)
            assert told.waiting == 5
    assert ray.deployed == ray.removed == [made.application]


async def test_a_place_is_free_when_its_worker_is_silent_for_a_lease(ray: Cluster) -> None:
    async with worker("a") as (a, _), worker("b") as (b, _), worker("c") as (c, _):
        ray.tell(a)
        ray.tell(b)
        async with started(ray) as (made, pool):
            await eventually(lambda: pool.capacity() == 8)
            ray.now += LEASE_SECONDS / 2 + 1
            ray.tell(newer(b))
            await asyncio.sleep(0.2)
            ray.now += LEASE_SECONDS / 2 + 1
            await eventually(lambda: pool.capacity() == 4)
            assert made.workers[0].state is WorkerState.STOPPED
            ray.tell(c)
            await eventually(lambda: pool.capacity() == 8)
            assert made.workers[0].socket == c.status.socket


async def test_a_directory_that_is_away_takes_no_worker_away(ray: Cluster) -> None:
    async with worker("a") as (a, _):
        ray.tell(a)
        async with started(ray) as (_, pool):
            ray.down.set()
            await asyncio.sleep(0.2)
            assert await said(pool)
            ray.kept = Directory(lambda: ray.now)  # Ray started an empty one
            ray.down.clear()
            await asyncio.sleep(0.2)
            assert await said(pool)


async def test_a_worker_that_drains_gets_nothing_new_and_finishes(ray: Cluster) -> None:
    async with worker("a") as (a, _), worker("b") as (b, _):
        ray.tell(a)
        ray.tell(b)
        async with started(ray) as (made, pool):
            await eventually(lambda: pool.capacity() == 8)
            ray.tell(newer(a, draining=True))
            await eventually(lambda: pool.capacity() == 4)
            drains = made.workers[0].engine
            assert drains is not None
            assert await said(drains)


async def test_a_worker_that_lost_a_request_is_used_once_it_tells_of_itself(ray: Cluster) -> None:
    async with worker("a") as (a, _), worker("b") as (b, _):
        ray.tell(a)
        ray.tell(b)
        async with started(ray) as (made, pool):
            await eventually(lambda: pool.capacity() == 8)
            made.lost(a.status.socket)
            assert pool.capacity() == 4
            ray.tell(newer(a))  # perhaps on its way when the request was lost
            await asyncio.sleep(0.2)
            assert pool.capacity() == 4
            ray.tell(newer(a, 2))
            await eventually(lambda: pool.capacity() == 8)
            assert await said(made.workers[0].engine or pool)


@pytest.mark.parametrize(
    ("kind", "error"), [("config", ConfigError), ("environment", EnvironmentFault)]
)
async def test_a_start_that_fails_on_its_node_fails_here(
    ray: Cluster, kind: Any, error: type[Exception]
) -> None:
    ray.tell(Entry(id="a", number=1, status=WorkerStatus(), fault=kind, message="It is not here."))
    made = Fleet(SETTINGS, Load, clock=lambda: ray.now)
    pool = EnginePool([LocalReplica("0", made.workers[0], limit=4)])
    with pytest.raises(error, match="It is not here"):
        await pool.start()
    assert ray.removed == [made.application]


async def test_gateways_with_the_same_settings_share_the_workers(ray: Cluster) -> None:
    other = SETTINGS.model_copy(update={"max_batch": 2})
    assert application_name(SETTINGS) == application_name(SETTINGS.model_copy())
    assert application_name(SETTINGS) != application_name(other)
    async with worker("a") as (a, _):
        ray.tell(a)
        async with started(ray), started(ray):
            pass
    assert len(ray.removed) == 1
