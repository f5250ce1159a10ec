"""The pool over several replicas: who gets what, what is tried again, who is left out."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from silkline.core import Answer
from silkline.errors import (
    DeadlineExceeded,
    EngineFailed,
    InternalFault,
    InvalidRequest,
    Overloaded,
    ShuttingDown,
    SilklineError,
    WorkerLost,
)
from silkline.routing import dispatch
from silkline.routing.ejection import ERRORS_IN_A_ROW
from silkline.routing.pool import EnginePool
from tests.engines.asking import eventually, question
from tests.routing.pools import answer, outcome
from tests.routing.scripted import ScriptedReplica


@asynccontextmanager
async def pooling(*replicas: ScriptedReplica) -> AsyncGenerator[EnginePool, None]:
    pool = EnginePool(replicas, seed=3)
    tasks = len(asyncio.all_tasks())
    await pool.start()
    try:
        yield pool
        health = pool.health()
        assert health.in_flight == health.waiting == 0
        assert not any(replica.in_flight for replica in health.replicas)
    finally:
        await pool.aclose()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks


def several(count: int, limit: int = 100) -> list[ScriptedReplica]:
    return [ScriptedReplica(f"replica-{n}", limit=limit) for n in range(count)]


async def ask(pool: EnginePool, times: int, **fields: object) -> list[Answer | Exception]:
    """One request after the other, without a picture."""
    return [
        await outcome(pool, question(f"question {n}", seed=None, **fields)) for n in range(times)
    ]


async def test_the_same_picture_goes_to_the_same_replica() -> None:
    async with pooling(*several(4)) as pool:
        homes: dict[int, set[str]] = {}
        for times in range(3):
            for seed in range(40):
                came = await answer(pool, question(f"question {times}", seed=seed))
                homes.setdefault(seed, set()).add(came.text)
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) == 4


async def test_requests_without_pictures_are_shared_by_weight() -> None:
    light, heavy = ScriptedReplica("light"), ScriptedReplica("heavy", weight=3)
    async with pooling(light, heavy) as pool:
        taken = Counter(came.text for came in await ask(pool, 400) if isinstance(came, Answer))
        assert 50 < taken["light"] < 150
        assert taken["light"] + taken["heavy"] == 400


async def test_no_replica_gets_more_than_its_limit_and_all_are_used() -> None:
    replicas = [ScriptedReplica("a", limit=2), ScriptedReplica("b", limit=3, weight=9)]
    for replica in replicas:
        replica.script.seconds = 0.005
    async with pooling(*replicas) as pool:
        assert pool.capacity() == 5
        readers = [asyncio.create_task(outcome(pool, question(seed=n % 7))) for n in range(100)]
        await asyncio.sleep(0.001)
        assert pool.health().waiting == 95
        assert all(isinstance(each, Answer) for each in await asyncio.gather(*readers))
        assert [replica.script.most_running for replica in replicas] == [2, 3]
        replicas[0].turn(up=False)
        assert pool.capacity() == 3


async def test_those_who_wait_are_served_in_their_order_and_may_leave() -> None:
    (only,) = several(1, limit=1)
    only.script.seconds = 0.01
    async with pooling(only) as pool:
        asked = [question(f"question {n}") for n in range(12)]
        readers = [asyncio.create_task(outcome(pool, each)) for each in asked]
        await asyncio.sleep(0.001)
        for reader in readers[1::2]:
            reader.cancel()
        late = await outcome(pool, question(timeout_seconds=0.02))
        assert isinstance(late, DeadlineExceeded)
        await asyncio.gather(*readers, return_exceptions=True)
        texts = [request.messages for request in only.script.asked]
        assert texts == [each.messages for each in asked[::2]]


@pytest.mark.parametrize("error", [WorkerLost("gone"), EngineFailed("no luck")])
async def test_a_lost_call_is_tried_again_elsewhere_unless_it_has_begun(
    error: SilklineError,
) -> None:
    bad, good = several(2)
    bad.script.error = error
    async with pooling(bad, good) as pool:
        while not bad.script.asked:
            assert (await answer(pool, question("Yes?", seed=None))).text == "replica-1"
        assert pool.health().retries == 1
        bad.script.begins = True
        outcomes = await ask(pool, 20)
        assert {type(each) for each in outcomes} == {Answer, type(error)}
        assert pool.health().retries == 1
        assert pool.health().replicas[0].errors == len(bad.script.asked)


@pytest.mark.parametrize(
    ("error", "ends_with_worker"),
    [(WorkerLost("gone"), False), (EngineFailed("no luck"), False), (EngineFailed("no"), True)],
)
async def test_the_budget_ends_what_is_tried_again(
    error: SilklineError, ends_with_worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails by itself in a worker of ours ends neither the worker nor the budget."""
    monkeypatch.setattr(ScriptedReplica, "fails_as_a_whole", ends_with_worker)
    failed: list[object] = []
    monkeypatch.setattr(ScriptedReplica, "mark_failed", lambda _, engine: failed.append(engine))
    only = several(1)[0]
    only.script.error = error
    async with pooling(only) as pool:
        outcomes = await ask(pool, 300)
        assert {type(each) for each in outcomes} == {type(error)}
        assert bool(failed) == isinstance(error, WorkerLost)
        assert 30 <= pool.health().retries <= 45  # a tenth, and the ten at first


@pytest.mark.parametrize(
    "error", [WorkerLost("gone"), EngineFailed("no luck"), InternalFault("nonsense")]
)
async def test_a_bad_replica_is_left_out_and_comes_back_when_it_is_well(
    error: SilklineError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silkline.routing.ejection.FIRST_SECONDS", 0.2)
    bad, good = several(2)
    bad.script.error = error
    async with pooling(bad, good) as pool:
        while not pool.health().replicas[0].ejected:
            await ask(pool, 1)
        assert len(bad.script.asked) == ERRORS_IN_A_ROW
        assert pool.capacity() == 100
        assert all(isinstance(each, Answer) for each in await ask(pool, 50))
        assert len(bad.script.asked) == ERRORS_IN_A_ROW
        await asyncio.sleep(0.25)
        await ask(pool, 10)
        assert len(bad.script.asked) == ERRORS_IN_A_ROW + 1
        bad.script.error = None
        await asyncio.sleep(0.45)
        await ask(pool, 1)
        assert not pool.health().replicas[0].ejected
        await ask(pool, 20)
        assert len(bad.script.asked) > ERRORS_IN_A_ROW + 2


@pytest.mark.parametrize("error", [InvalidRequest("no"), Overloaded("full")])
async def test_refusals_leave_nobody_out(error: SilklineError) -> None:
    bad, good = several(2)
    bad.script.error = error
    async with pooling(bad, good) as pool:
        await ask(pool, 100)
        assert not pool.health().replicas[0].ejected
        assert bool(pool.health().retries) == isinstance(error, Overloaded)


async def test_the_last_one_that_serves_is_used_even_when_it_was_left_out() -> None:
    bad, good = several(2)
    bad.script.error = WorkerLost("gone")
    async with pooling(bad, good) as pool:
        while not pool.health().replicas[0].ejected:
            await ask(pool, 1)
        bad.script.error = None
        good.turn(up=False)
        assert pool.ready
        (came,) = await ask(pool, 1)
        assert isinstance(came, Answer)
        assert came.text == "replica-0"


@pytest.mark.slow
async def test_a_replica_that_stalls_is_left_out_within_five_seconds() -> None:
    stalling, *others = several(3)
    for replica in (stalling, *others):
        replica.script.seconds = 0.01
    async with pooling(stalling, *others) as pool:
        await asyncio.gather(*(outcome(pool, question(seed=n)) for n in range(60)))
        stalling.script.seconds = 60
        stalled = time.monotonic()
        readers: list[asyncio.Task[Answer | Exception]] = []
        while not pool.health().replicas[0].ejected:
            assert time.monotonic() - stalled < 5
            readers.append(asyncio.create_task(outcome(pool, question(seed=len(readers)))))
            await asyncio.sleep(0.02)
        held = pool.health().replicas[0].in_flight
        assert all(isinstance(each, Answer) for each in await ask(pool, 50))
        assert pool.health().replicas[0].in_flight == held
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def test_requests_wait_for_a_replica_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (only,) = several(1)
    async with pooling(only) as pool:
        only.turn(up=False)
        monkeypatch.setattr(dispatch, "RECOVERY_SECONDS", 0.3)
        waiting = asyncio.create_task(outcome(pool, question()))
        await asyncio.sleep(0.1)
        only.turn(up=True)
        assert isinstance(await waiting, Answer)
        only.turn(up=False)
        assert isinstance(await outcome(pool, question()), Overloaded)
        assert isinstance(await outcome(pool, question(timeout_seconds=0.1)), DeadlineExceeded)
        assert pool.capacity() == 0
        only.turn(up=True)


async def test_the_start_waits_for_a_replica_that_serves() -> None:
    (only,) = several(1)
    only.up = False
    pool = EnginePool([only])
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0.02)
    assert not starting.done()
    only.turn(up=True)
    await starting
    await pool.aclose()


async def test_a_start_that_is_given_up_ends() -> None:
    (only,) = several(1)
    only.up = False
    pool = EnginePool([only])
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0.02)
    await pool.aclose()
    with pytest.raises(ShuttingDown):
        await starting


async def test_closing_sends_those_who_wait_away() -> None:
    (only,) = several(1, limit=1)
    only.script.seconds = 0.05
    pool = EnginePool([only])
    await pool.start()
    readers = [asyncio.create_task(outcome(pool, question(seed=n))) for n in range(4)]
    await eventually(lambda: pool.health().waiting == 3)
    await pool.aclose()
    outcomes = await asyncio.gather(*readers)
    assert [type(each) for each in outcomes] == [Answer, *[ShuttingDown] * 3]


async def test_what_a_full_replica_refuses_is_tried_where_there_is_room() -> None:
    full, free = several(2)
    full.script.error = Overloaded("full", retry_after=7)
    async with pooling(full, free) as pool:
        answers = await ask(pool, 8)
        assert {each.text for each in answers if isinstance(each, Answer)} == {"replica-1"}
        assert len(full.script.asked) == pool.health().retries > 0
        assert not any(each.ejected for each in pool.health().replicas)


async def test_what_all_refuse_is_refused() -> None:
    full = several(2)
    for each in full:
        each.script.error = Overloaded("full", retry_after=7)
    async with pooling(*full) as pool:
        (refused,) = await ask(pool, 1)
        assert isinstance(refused, Overloaded)
        assert refused.retry_after == 7
        assert [len(each.script.asked) for each in full] == [1, 1]


async def test_the_only_replica_is_not_asked_twice_when_it_is_full() -> None:
    (only,) = several(1)
    only.script.error = Overloaded("full", retry_after=7)
    async with pooling(only) as pool:
        await ask(pool, 1)
        assert len(only.script.asked) == 1
