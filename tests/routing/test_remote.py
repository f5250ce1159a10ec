"""Servers elsewhere as replicas of a pool."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from silkline.config import RemoteSettings
from silkline.core import Answer, Feature, Health
from silkline.errors import Overloaded, WorkerLost
from silkline.routing import remote as remote_module
from silkline.routing.pool import EnginePool
from silkline.routing.remote import AgreedModel, RemoteReplica
from silkline.routing.replica import ReplicaState
from tests.engines.asking import eventually, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    Cut,
    OpenAiServer,
    Script,
    chunk,
    event,
    openai_server,
    scripted,
    whole,
)
from tests.routing.pools import answer, outcome
from tests.routing.scripted import ScriptedReplica

NOTHING = Health(running=0, queued=0, seconds_since_progress=0.0)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "PROBE_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(remote_module, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(remote_module, "LAST_RETRY_SECONDS", 0.1)


def saying(text: str, *before: float) -> Script:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    tail = event(chunk({}, "stop")) + event(chunk(None, usage=usage)) + event("[DONE]") + STREAM_END
    return scripted(*before, STREAM_HEAD, event(chunk({"content": text})), tail)


def replica_of(
    url: str, name: str = "far", agreed: AgreedModel | None = None, **settings: Any
) -> RemoteReplica:
    described = RemoteSettings(url=url, **settings)
    return RemoteReplica(name, described, None, agreed or AgreedModel())


@asynccontextmanager
async def pooled(*replicas: RemoteReplica) -> AsyncIterator[EnginePool]:
    pool = EnginePool(replicas, seed=7)
    try:
        await pool.start()
        yield pool
    finally:
        await pool.aclose()


def state(replica: RemoteReplica) -> ReplicaState:
    """Read anew, whatever the type checker knows of it from before."""
    return replica.state


async def test_a_server_answers_through_the_pool() -> None:
    async with openai_server(saying("Hi")) as server, pooled(replica_of(server.url)) as pool:
        assert pool.ready
        assert pool.info.engine == "remote"
        assert (await answer(pool, question())).text == "Hi"
        health = pool.health().replicas[0]
        assert (health.name, health.ready, health.pid, health.in_flight) == ("far", True, None, 0)


async def test_a_pool_has_the_features_that_all_its_replicas_have() -> None:
    async with openai_server(saying("Hi")) as server:
        every = replica_of(server.url, "a", without=["tools"])
        fewer = replica_of(server.url, "b", without=["top_k", "grammar"])
        async with pooled(every, fewer) as pool:
            assert pool.info.features.isdisjoint({Feature.TOOLS, Feature.TOP_K, Feature.GRAMMAR})
            assert Feature.MIN_P in pool.info.features
        async with pooled(fewer) as pool:
            assert Feature.TOOLS in pool.info.features
            assert pool.info.features.isdisjoint({Feature.TOP_K, Feature.GRAMMAR})


async def test_one_that_is_not_there_at_the_start_comes_later() -> None:
    async with openai_server(saying("Hi"), listing=None) as server:
        replica = replica_of(server.url)
        await replica.start()
        assert state(replica) is ReplicaState.STARTING
        assert (replica.ready, replica.engine, replica.info) == (False, None, None)
        server.listing = {"data": [{"id": "m"}]}
        await eventually(lambda: replica.ready)
        assert replica.info is not None
        await replica.aclose()
        await replica.aclose()
    assert state(replica) is ReplicaState.STOPPED


async def test_one_that_goes_is_not_ready_and_comes_back() -> None:
    async with openai_server(saying("Hi")) as server:
        replica = replica_of(server.url)
        await replica.start()
        listing, server.listing = server.listing, None
        changed = replica.changed()
        await eventually(lambda: replica.state is ReplicaState.LOST)
        await asyncio.wait_for(changed, 5)
        assert not replica.ready
        assert replica.info is not None
        server.listing = listing
        await eventually(lambda: replica.ready)
        await replica.aclose()


async def test_a_lost_call_makes_it_look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "PROBE_INTERVAL_SECONDS", 600.0)
    async with openai_server(saying("Hi")) as server:
        replica = replica_of(server.url)
        await replica.start()
        server.listing = None
        assert replica.ready
        assert replica.engine is not None
        replica.mark_failed(replica.engine)
        await eventually(lambda: replica.state is ReplicaState.LOST)
        await replica.aclose()


async def test_a_whole_answer_may_take_longer_than_a_short_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_module, "PROBE_INTERVAL_SECONDS", 600.0)
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
    async with (
        openai_server(scripted(1.2, whole(200, {"choices": [choice]}))) as server,
        pooled(replica_of(server.url, timeout=0.8)) as pool,
    ):
        assert (await answer(pool, question(stream=False))).text == "Hi"


async def test_a_server_that_refuses_our_key_gets_nothing_more_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """llama-server lists its models to anyone, and asks for the key only then."""
    monkeypatch.setattr(remote_module, "DENIED_SECONDS", 0.5)
    async with openai_server(scripted(whole(401, {}))) as server:
        replica = replica_of(server.url)
        async with pooled(replica) as pool:
            assert isinstance(await outcome(pool, question()), WorkerLost | Overloaded)
            assert not replica.ready
            server.script = saying("Hi")
            await eventually(lambda: replica.ready)
            assert (await answer(pool, question())).text == "Hi"


async def test_a_call_lost_before_its_answer_is_answered_elsewhere() -> None:
    agreed = AgreedModel()
    async with (
        openai_server(scripted(0.05, Cut)) as broken,
        openai_server(saying("Hi")) as good,
        pooled(
            replica_of(broken.url, "broken", agreed, weight=100.0),
            replica_of(good.url, "good", agreed, weight=0.01),
        ) as pool,
    ):
        said = await outcome(pool, question())
        assert isinstance(said, Answer)
        assert len(broken.received) == len(good.received) == 1


async def test_a_call_lost_in_its_answer_is_lost() -> None:
    half = scripted(STREAM_HEAD, event(chunk({"content": "H"})), Cut)
    async with openai_server(half) as server, pooled(replica_of(server.url)) as pool:
        assert isinstance(await outcome(pool, question()), WorkerLost)
        assert len(server.received) == 1


async def test_one_that_is_busy_says_so_to_the_client() -> None:
    busy = scripted(whole(429, {}, "retry-after: 9"))
    async with openai_server(busy) as server, pooled(replica_of(server.url)) as pool:
        refused = await outcome(pool, question())
        assert isinstance(refused, Overloaded)
        assert pool.ready


async def test_its_limit_holds() -> None:
    most = 0

    async def counting(server: OpenAiServer) -> None:
        nonlocal most
        while True:
            most = max(most, server.open)
            await asyncio.sleep(0.005)

    async with openai_server(saying("Hi", 0.1)) as server:
        async with pooled(replica_of(server.url, limit=3)) as pool:
            counter = asyncio.create_task(counting(server))
            answers = await asyncio.gather(*(answer(pool, question()) for _ in range(9)))
            counter.cancel()
        assert {said.text for said in answers} == {"Hi"}
        assert 3 <= most <= 4  # and a probe


async def test_another_model_does_not_take_part() -> None:
    agreed = AgreedModel()
    async with (
        openai_server(saying("a"), {"data": [{"id": "a"}]}) as one,
        openai_server(saying("b"), {"data": [{"id": "b"}]}) as other,
    ):
        first, second = (
            replica_of(each.url, name, agreed) for each, name in ((one, "1"), (other, "2"))
        )
        await first.start()
        await second.start()
        assert first.ready
        assert not second.ready
        assert second.info is None
        other.listing = {"data": [{"id": "a"}]}
        await eventually(lambda: second.ready)
        await first.aclose()
        await second.aclose()


async def test_a_stalled_server_is_not_ready_whatever_its_probe_says() -> None:
    stalled = scripted(STREAM_HEAD, event(chunk({"content": "H"})), 30.0)
    async with openai_server(stalled) as server:
        replica = replica_of(server.url, timeout=1.0)
        async with pooled(replica) as pool:
            began = time.monotonic()
            asking = asyncio.create_task(outcome(pool, question()))
            await eventually(lambda: not replica.ready)
            assert replica.state is ReplicaState.SERVING
            assert isinstance(await asking, WorkerLost)
            assert time.monotonic() - began < 10
            await eventually(lambda: replica.ready)


async def test_the_workers_of_a_pool_decide_which_model_it_serves() -> None:
    worker = ScriptedReplica("worker")
    agreed = AgreedModel([worker])
    worker.up = False
    with pytest.raises(WorkerLost, match="have not reported"):
        agreed.check("another")
    worker.up = True
    with pytest.raises(WorkerLost, match="another model"):
        agreed.check("another")
    agreed.check("scripted")


async def test_one_that_changes_its_model_while_it_is_busy_leaves_the_pool() -> None:
    words: list[bytes | float] = []
    for _ in range(60):
        words += [event(chunk({"content": "a "})), 0.03]
    tail = event(chunk({}, "stop")) + event("[DONE]") + STREAM_END
    async with openai_server(scripted(STREAM_HEAD, *words, tail)) as server:
        replica = replica_of(server.url)
        async with pooled(replica) as pool:
            asking = asyncio.create_task(answer(pool, question()))
            await eventually(lambda: (replica.health() or NOTHING).running > 0)
            server.listing = {"data": [{"id": "another"}]}
            await eventually(lambda: replica.state is ReplicaState.LOST)
            assert not asking.done()
            assert (await asking).text == "a " * 60
            assert not pool.ready
