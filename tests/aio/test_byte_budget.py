"""The bound on bytes that are held together: it holds, it is fair, and it never locks up."""

import asyncio
import random
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.aio.byte_budget import ByteBudget, Claim
from silkline.errors import Overloaded
from silkline.ingress import fetch as fetch_module
from tests.ingress.intakes import BUDGET, TENANT, at, coloured, serving, until
from tests.ingress.network import Hit, gives

HANG_SECONDS = 10.0


def waits(task: "asyncio.Task[None]") -> bool:
    return not task.done()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_bound_holds_and_gives_back() -> None:
    bound = ByteBudget(100, 40, HANG_SECONDS)
    with bound.claim() as first:
        await first.grow(40)
        with bound.claim() as second:
            await second.grow(40)
            with bound.claim() as third:
                waiting = asyncio.create_task(third.grow(40))
                await settle()
                assert waits(waiting)
                assert (bound.used, bound.waiting) == (80, 1)
                waiting.cancel()
                await settle()
                assert bound.waiting == 0
        assert bound.used == 40
    assert bound.used == 0


async def test_what_is_kept_for_others_counts_until_they_let_go() -> None:
    bound = ByteBudget(100, 40, HANG_SECONDS)
    with bound.claim() as claim:
        await claim.grow(40)
        kept = ExitStack()
        kept.enter_context(claim)
    assert bound.used == 40
    with claim:
        kept.close()
        assert bound.used == 40
    assert bound.used == 0
    with claim:
        assert bound.used == 40
    assert bound.used == 0


async def test_turns_are_taken_in_order() -> None:
    bound = ByteBudget(100, 50, HANG_SECONDS)
    order: list[str] = []

    async def hold(name: str, count: int) -> None:
        with bound.claim() as claim:
            await claim.grow(count)
            order.append(name)
            await asyncio.sleep(0.01)

    with bound.claim() as oldest:
        await oldest.grow(50)
        tasks = [
            asyncio.create_task(hold(name, count))
            for name, count in (("first", 50), ("second", 50), ("small", 1))
        ]
        await settle()
        assert order == ["first"]
    await asyncio.gather(*tasks)
    assert order == ["first", "second", "small"]


async def test_who_wants_little_does_not_overtake() -> None:
    bound = ByteBudget(100, 50, HANG_SECONDS)
    with bound.claim() as oldest, bound.claim() as greedy, bound.claim() as modest:
        await oldest.grow(50)
        with bound.claim() as second:
            await second.grow(20)
            with bound.claim() as third:
                await third.grow(5)
                first = asyncio.create_task(greedy.grow(35))
                await settle()
                little = asyncio.create_task(modest.grow(5))
                await settle()
            await settle()
            assert waits(first)
            assert waits(little)  # there is room for it by now
        await asyncio.gather(first, little)


async def test_the_oldest_may_always_go_on() -> None:
    bound = ByteBudget(100, 60, HANG_SECONDS)
    with bound.claim() as oldest, bound.claim() as second, bound.claim() as third:
        await second.grow(40)
        waiting = asyncio.create_task(third.grow(1))
        await settle()
        assert waits(waiting)  # the rest is kept for the oldest
        async with asyncio.timeout(HANG_SECONDS):
            for _ in range(60):
                await oldest.grow(1)
        assert bound.used == 100
        await settle()
        assert waits(waiting)
        waiting.cancel()
        await settle()


async def test_who_leaves_the_queue_lets_the_next_ones_go_on() -> None:
    bound = ByteBudget(100, 50, HANG_SECONDS)
    with bound.claim() as oldest, bound.claim() as greedy, bound.claim() as modest:
        await oldest.grow(20)
        first = asyncio.create_task(greedy.grow(60))
        second = asyncio.create_task(modest.grow(10))
        await settle()
        assert waits(first)
        assert waits(second)
        first.cancel()
        await settle()
        assert second.done()


async def test_room_that_does_not_come_in_time_is_an_overload() -> None:
    bound = ByteBudget(10, 10, patience=0.05)
    with bound.claim() as oldest, bound.claim() as second:
        await oldest.grow(10)
        with pytest.raises(Overloaded):
            await second.grow(1)
        assert bound.waiting == 0
    assert bound.used == 0


async def test_a_crowd_leaves_room_for_those_of_another_scope() -> None:
    bound = ByteBudget(100, 20, HANG_SECONDS)
    with ExitStack() as held:
        crowd = [held.enter_context(bound.claim(b"crowd")) for _ in range(10)]
        growing = [asyncio.create_task(claim.grow(20)) for claim in crowd]
        await settle()
        assert bound.used == 80  # the oldest, and three quarters of the rest
        for scope in (b"x", b"y"):
            claim = held.enter_context(bound.claim(scope))
            await asyncio.wait_for(claim.grow(5), HANG_SECONDS)
        for task in growing:
            task.cancel()
        await asyncio.gather(*growing, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 200),
    worst=st.integers(1, 100),
    seed=st.integers(0, 2**32),
    holders=st.integers(1, 12),
)
def test_all_come_to_their_end(capacity: int, worst: int, seed: int, holders: int) -> None:
    """Whatever the order in which holders grow, end and are cancelled."""

    async def campaign() -> None:
        chance = random.Random(seed)
        bound = ByteBudget(capacity, worst, HANG_SECONDS)

        async def hold() -> None:
            left = chance.randint(0, worst)
            with bound.claim(bytes([chance.randint(0, 2)])) as claim:
                while left:
                    piece = chance.randint(1, left)
                    await grown(bound, claim, piece)
                    left -= piece
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(hold()) for _ in range(holders)]
        await asyncio.sleep(0)
        for task in chance.sample(tasks, holders // 4):
            task.cancel()
        async with asyncio.timeout(HANG_SECONDS / 2):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes
        )
        assert (bound.used, bound.waiting) == (0, 0)

    async def grown(bound: ByteBudget, claim: Claim, piece: int) -> None:
        await claim.grow(piece)
        assert bound.used <= max(capacity, worst)

    asyncio.run(campaign())


async def test_fetched_pictures_never_hold_more_together() -> None:
    """Forty large pictures at once, and room for three of them."""
    big = coloured(7) + bytes(1_000_000)
    most = 0

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await gives(big)(hit, writer)

    async with serving(
        respond=respond, max_image_bytes=1_100_000, max_inflight_bytes=3_300_000
    ) as (intake, origin):

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, intake.snapshot().loading.inflight_bytes)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        pictures = await asyncio.gather(
            *(intake.take([at(origin, f"/{place}")], BUDGET, TENANT) for place in range(40))
        )
        watching.cancel()
        assert len(pictures) == 40
        assert len(origin.hits) == 40
        assert 1_100_000 < most <= 3_300_000
        assert intake.snapshot().loading.inflight_bytes == 0


async def test_who_waits_for_a_connection_keeps_no_room_from_who_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tenants take turns at connections, so the oldest of all may have to wait for one."""
    monkeypatch.setattr(fetch_module, "_CONNECTIONS", 1)
    asked = asyncio.Event()

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await asked.wait()
        await gives(coloured(7) + bytes(1_000_000))(hit, writer)

    async with serving(
        fetch={"fetch_timeout": 4.0},
        respond=respond,
        max_image_bytes=1_100_000,
        max_inflight_bytes=1_100_000,
    ) as (intake, origin):
        taking = [
            asyncio.create_task(intake.take([at(origin, f"/{place}")], BUDGET, scope))
            for place, scope in enumerate([TENANT, TENANT, TENANT, b"another"])
        ]
        await until(lambda: len(origin.hits) == 1)
        asked.set()
        assert len(await asyncio.gather(*taking)) == 4


async def test_a_crowd_of_halves_of_pictures_leaves_room_for_another_tenant() -> None:
    """Origins that stop midway hold what they have sent until their time is over."""

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        if "/good" in hit.line:
            await gives(coloured(7))(hit, writer)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n" + bytes(1_000_000))
            await asyncio.Event().wait()

    async with serving(
        fetch={"fetch_timeout": 8.0},
        respond=respond,
        max_image_bytes=1_100_000,
        max_inflight_bytes=5_000_000,
    ) as (intake, origin):
        crowd = [
            asyncio.create_task(intake.take([at(origin, f"/{place}")], BUDGET, TENANT))
            for place in range(20)
        ]
        await until(lambda: intake.snapshot().loading.inflight_waiting >= 15)
        async with asyncio.timeout(3):
            await intake.take([at(origin, "/good")], BUDGET, b"another")
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_picture_that_finds_no_room_is_refused() -> None:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        body = bytes(1_100_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1100001\r\n\r\n" + body)
        await asyncio.Event().wait()

    async with serving(
        fetch={"fetch_timeout": 2.0},
        respond=respond,
        max_image_bytes=1_100_001,
        max_inflight_bytes=1_100_001,
    ) as (intake, origin):
        first = asyncio.create_task(intake.take([at(origin, "/1")], BUDGET, TENANT))
        await until(lambda: intake.snapshot().loading.inflight_bytes >= 1_100_000)
        with pytest.raises(Overloaded):
            await intake.take([at(origin, "/2", "here")], BUDGET, TENANT)
        first.cancel()
