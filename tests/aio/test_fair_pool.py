"""Things that are given out in turn: nobody waits for another's crowd, and none is lost."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.aio.fair_pool import FairPool
from silkline.errors import ShuttingDown


async def test_the_scopes_take_turns_and_each_keeps_its_order() -> None:
    pool = FairPool(["one"])
    thing = await pool.take(b"crowd")
    given: list[str] = []

    async def want(scope: bytes, number: int) -> None:
        async with pool.turn(scope):
            given.append(f"{scope.decode()}{number}")

    asked = [asyncio.create_task(want(b"c", number)) for number in range(4)]
    await asyncio.sleep(0)
    asked += [asyncio.create_task(want(b"x", number)) for number in range(2)]
    asked += [asyncio.create_task(want(b"y", 0))]
    await asyncio.sleep(0)
    pool.give(thing)
    await asyncio.gather(*asked)
    assert given == ["c0", "x0", "y0", "c1", "x1", "c2", "c3"]


async def test_those_who_left_cost_their_scope_no_turn() -> None:
    pool = FairPool(["one"])
    thing = await pool.take(b"x")
    given: list[bytes] = []

    async def want(scope: bytes) -> None:
        async with pool.turn(scope):
            given.append(scope)

    left = [asyncio.create_task(want(b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    asked = [asyncio.create_task(want(scope)) for scope in (b"x", b"y", b"y", b"y")]
    await asyncio.sleep(0)
    pool.give(thing)
    await asyncio.gather(*asked)
    assert given == [b"x", b"y", b"y", b"y"]


async def test_whoever_leaves_takes_nothing_along() -> None:
    dice = random.Random(7)
    pool = FairPool(range(3))
    held = 0

    async def want(number: int) -> None:
        nonlocal held
        async with pool.turn(bytes([number % 4])):
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
    assert {await pool.take(b"") for _ in range(3)} == {0, 1, 2}


async def test_one_that_is_given_as_its_taker_leaves_goes_on() -> None:
    pool: FairPool[str] = FairPool()
    first, second = (asyncio.create_task(pool.take(b"")) for _ in range(2))
    await asyncio.sleep(0)
    pool.give("it")
    first.cancel()
    assert await second == "it"
    assert first.cancelled()


async def test_closing_tells_all_who_wait() -> None:
    pool: FairPool[str] = FairPool()
    asked = [asyncio.create_task(pool.take(bytes([number]))) for number in range(3)]
    await asyncio.sleep(0)
    pool.give("it")
    pool.close()
    for task in asked:
        with pytest.raises(ShuttingDown):
            await task
    with pytest.raises(ShuttingDown):
        await pool.take(b"")


async def test_whoever_holds_many_leaves_some_to_who_comes_new() -> None:
    pool = FairPool(range(8), leaves_some=True)
    crowd = [asyncio.create_task(pool.take(b"crowd")) for _ in range(100)]
    await asyncio.sleep(0)
    assert sum(task.done() for task in crowd) == 4
    for number in range(3):  # nothing is given back
        await asyncio.wait_for(pool.take(bytes([number])), 1)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_what_is_given_back_goes_to_those_who_may_have_it() -> None:
    pool = FairPool(range(8), leaves_some=True)
    held = [await pool.take(b"crowd") for _ in range(4)]
    more = [asyncio.create_task(pool.take(b"crowd")) for _ in range(4)]
    other = [asyncio.create_task(pool.take(b"other")) for _ in range(8)]
    await asyncio.sleep(0)
    assert [task.done() for task in other] == [True] * 2 + [False] * 6
    for thing in held:
        pool.give(thing)
    await asyncio.sleep(0)
    assert [sum(task.done() for task in tasks) for tasks in (more, other)] == [3, 3]
    for task in (*more, *other):
        task.cancel()
    await asyncio.gather(*more, *other, return_exceptions=True)


async def test_those_who_may_have_more_do_not_wait_behind_those_who_may_not() -> None:
    pool = FairPool(range(8), leaves_some=True)
    for _ in range(4):
        await pool.take(b"crowd")
    held = [await pool.take(b"other") for _ in range(2)]
    crowd = asyncio.create_task(pool.take(b"crowd"))
    await asyncio.sleep(0)
    other = asyncio.create_task(pool.take(b"other"))
    await asyncio.sleep(0)
    assert not crowd.done()
    assert not other.done()
    for thing in held:
        pool.give(thing)
    await asyncio.wait_for(other, 1)
    crowd.cancel()
    await asyncio.gather(crowd, return_exceptions=True)


N_THINGS = st.integers(1, 6)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "take", "give", "cancel", "rest"]), st.integers(0, 5)),
    min_size=20,
    max_size=60,
)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Crowd:
    """Takers of three scopes, and what they have."""

    def __init__(self, things: int, *, leaves_some: bool) -> None:
        self.pool = FairPool(range(things), leaves_some=leaves_some)
        self.things = things
        self.leaves_some = leaves_some
        self.asked: list[tuple[int, int, asyncio.Task[None]]] = []  # number, scope
        self.in_line: dict[int, int] = {}  # number, scope; of those who mean to stay
        self.held: list[tuple[int, int]] = []  # scope, thing
        self.served: dict[int, list[int]] = {scope: [] for scope in range(3)}
        self.overtaken: dict[int, set[int]] = {scope: set() for scope in range(3)}

    async def _take(self, number: int, scope: int) -> None:
        self.in_line[number] = scope
        try:
            thing = await self.pool.take(bytes([scope]))
        finally:  # whoever leaves may have had its scope's turn
            self.in_line.pop(number, None)
            self.overtaken[scope].clear()
        assert thing not in {other for _, other in self.held}
        self.held.append((scope, thing))
        self.served[scope].append(number)
        for other in set(self.in_line.values()) - {scope}:
            if not self.leaves_some:
                assert scope not in self.overtaken[other], "twice while another waited"
                self.overtaken[other].add(scope)

    def do(self, what: str, which: int) -> None:
        waiting = [each for each in self.asked if not each[2].done()]
        if what == "take":
            scope, number = which % 3, len(self.asked)
            self.asked.append((number, scope, asyncio.create_task(self._take(number, scope))))
        elif what == "give" and self.held:
            self.pool.give(self.held.pop(which % len(self.held))[1])
        elif what == "cancel" and waiting:
            number, _, task = waiting[which % len(waiting)]
            task.cancel()
            self.in_line.pop(number, None)

    async def rest(self) -> None:
        """Lets everything come to rest, and looks whether anybody waits who need not."""
        await turns(8)
        free = self.things - len(self.held)
        for _, scope, task in self.asked:
            if not task.done():
                has = sum(holder == scope for holder, _ in self.held)
                assert free <= (has if self.leaves_some else 0), "waits although it may have one"
        for numbers in self.served.values():
            assert numbers == sorted(numbers)

    async def leave(self) -> None:
        """Everybody goes; all must be there again."""
        for _, _, task in self.asked:
            task.cancel()
        for _, thing in self.held:
            self.pool.give(thing)
        await asyncio.gather(*(task for _, _, task in self.asked), return_exceptions=True)
        for _, _, task in self.asked:
            if not task.cancelled():
                task.result()
        things = range(self.things)
        new = [asyncio.create_task(self.pool.take(bytes([9, thing]))) for thing in things]
        await turns(8)
        assert {task.result() for task in new} == set(things)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(things=N_THINGS, leaves_some=st.booleans(), steps=STEPS)
def test_nothing_is_lost_and_nobody_waits_in_vain(
    things: int, leaves_some: bool, steps: list[tuple[str, int]]
) -> None:
    """Whoever takes, gives back and leaves, and in whatever moment of the event loop."""

    async def campaign() -> None:
        crowd = Crowd(things, leaves_some=leaves_some)
        for what, which in steps:
            if what == "take" and not leaves_some:
                await turns(3)  # so that nobody comes between being served and knowing it
            crowd.do(what, which)
            if what == "rest" and which % 2:
                await crowd.rest()
            elif what in {"rest", "take"}:  # whoever takes is in line at once
                await asyncio.sleep(0)
        await crowd.rest()
        await crowd.leave()

    asyncio.run(campaign())
