"""Things that are given out in turn: nobody waits for another's crowd, and none is lost."""

import asyncio
import random

import pytest

from silkline.errors import ShuttingDown
from silkline.ingress.rota import Rota


async def test_the_scopes_take_turns_and_each_keeps_its_order() -> None:
    rota = Rota(["one"])
    thing = await rota.take(b"crowd")
    given: list[str] = []

    async def want(scope: bytes, number: int) -> None:
        async with rota.turn(scope):
            given.append(f"{scope.decode()}{number}")

    asked = [asyncio.create_task(want(b"c", number)) for number in range(4)]
    await asyncio.sleep(0)
    asked += [asyncio.create_task(want(b"x", number)) for number in range(2)]
    asked += [asyncio.create_task(want(b"y", 0))]
    await asyncio.sleep(0)
    rota.give(thing)
    await asyncio.gather(*asked)
    assert given == ["c0", "x0", "y0", "c1", "x1", "c2", "c3"]


async def test_those_who_left_cost_their_scope_no_turn() -> None:
    rota = Rota(["one"])
    thing = await rota.take(b"x")
    given: list[bytes] = []

    async def want(scope: bytes) -> None:
        async with rota.turn(scope):
            given.append(scope)

    left = [asyncio.create_task(want(b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    asked = [asyncio.create_task(want(scope)) for scope in (b"x", b"y", b"y", b"y")]
    await asyncio.sleep(0)
    rota.give(thing)
    await asyncio.gather(*asked)
    assert given == [b"x", b"y", b"y", b"y"]


async def test_whoever_leaves_takes_nothing_along() -> None:
    dice = random.Random(7)
    rota = Rota(range(3))
    held = 0

    async def want(number: int) -> None:
        nonlocal held
        async with rota.turn(bytes([number % 4])):
            held += 1
            assert held <= 3
            try:
                await asyncio.sleep(dice.random() / 1000)
            finally:
                held -= 1

    asked = [asyncio.create_task(want(number)) for number in range(300)]
    for task in dice.sample(asked, 150):
        await asyncio.sleep(dice.random() / 1000)
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert {await rota.take(b"") for _ in range(3)} == {0, 1, 2}


async def test_one_that_is_given_as_its_taker_leaves_goes_on() -> None:
    rota: Rota[str] = Rota()
    first, second = (asyncio.create_task(rota.take(b"")) for _ in range(2))
    await asyncio.sleep(0)
    rota.give("it")
    first.cancel()
    assert await second == "it"
    assert first.cancelled()


async def test_closing_tells_all_who_wait() -> None:
    rota: Rota[str] = Rota()
    asked = [asyncio.create_task(rota.take(bytes([number]))) for number in range(3)]
    await asyncio.sleep(0)
    rota.give("it")
    rota.close()
    for task in asked:
        with pytest.raises(ShuttingDown):
            await task
    with pytest.raises(ShuttingDown):
        await rota.take(b"")


async def test_whoever_holds_many_leaves_some_to_who_comes_new() -> None:
    rota = Rota(range(8), leaves_some=True)
    crowd = [asyncio.create_task(rota.take(b"crowd")) for _ in range(100)]
    await asyncio.sleep(0)
    assert sum(task.done() for task in crowd) == 4
    for number in range(3):  # nothing is given back
        await asyncio.wait_for(rota.take(bytes([number])), 1)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_what_is_given_back_goes_to_those_who_may_have_it() -> None:
    rota = Rota(range(8), leaves_some=True)
    held = [await rota.take(b"crowd") for _ in range(4)]
    more = [asyncio.create_task(rota.take(b"crowd")) for _ in range(4)]
    other = [asyncio.create_task(rota.take(b"other")) for _ in range(8)]
    await asyncio.sleep(0)
    assert [task.done() for task in other] == [True] * 2 + [False] * 6
    for thing in held:
        rota.give(thing)
    await asyncio.sleep(0)
    assert [sum(task.done() for task in tasks) for tasks in (more, other)] == [3, 3]
    for task in (*more, *other):
        task.cancel()
    await asyncio.gather(*more, *other, return_exceptions=True)


async def test_those_who_may_have_more_do_not_wait_behind_those_who_may_not() -> None:
    rota = Rota(range(8), leaves_some=True)
    for _ in range(4):
        await rota.take(b"crowd")
    held = [await rota.take(b"other") for _ in range(2)]
    crowd = asyncio.create_task(rota.take(b"crowd"))
    await asyncio.sleep(0)
    other = asyncio.create_task(rota.take(b"other"))
    await asyncio.sleep(0)
    assert not crowd.done()
    assert not other.done()
    for thing in held:
        rota.give(thing)
    await asyncio.wait_for(other, 1)
    crowd.cancel()
    await asyncio.gather(crowd, return_exceptions=True)
