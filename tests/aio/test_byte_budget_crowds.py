"""The bound on bytes in any order of events: nobody waits beside room, and none of it is lost."""

import asyncio
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.aio.byte_budget import ByteBudget, Claim

HANG_SECONDS = 10.0


class Holders:
    """Tasks that each hold a claim, which they grow and leave as they are told."""

    def __init__(self, capacity: int, worst: int) -> None:
        self.capacity, self.worst = capacity, worst
        self.bound = ByteBudget(capacity, worst, HANG_SECONDS)
        self.tasks: list[asyncio.Task[None]] = []
        self.told: list[asyncio.Queue[int]] = []
        self.claims: dict[int, Claim] = {}  # oldest first
        self.wanted: dict[int, tuple[int, int]] = {}  # how much, and what it had; in turn

    async def _hold(self, number: int, scope: int) -> None:
        try:
            with self.bound.claim(bytes([scope])) as claim:
                self.claims[number] = claim
                while count := await self.told[number].get():
                    self.wanted[number] = count, claim.held
                    await claim.grow(count)
                    self._check_turn(number, scope)
                    self.wanted.pop(number, None)
                    assert self.bound.used <= max(self.capacity, self.worst)
        finally:
            self.claims.pop(number, None)
            self.wanted.pop(number, None)

    def _check_turn(self, number: int, scope: int) -> None:
        """Nobody overtakes those of the same scope but the oldest of all."""
        asked = takewhile(lambda other: other != number, self.wanted)
        rest = (other for other in asked if self.claims[other].scope == bytes([scope]))
        overtaken = [other for other in rest if self.claims[other].held == self.wanted[other][1]]
        assert not overtaken or next(iter(self.claims)) == number

    def do(self, what: str, which: int) -> None:
        there = [number for number, task in enumerate(self.tasks) if not task.done()]
        if what == "come":
            self.told.append(asyncio.Queue())
            self.tasks.append(asyncio.create_task(self._hold(len(self.tasks), which % 3)))
        elif there:
            number = there[which % len(there)]
            claim = self.claims.get(number)
            if what == "leave" and number not in self.wanted:
                self.told[number].put_nowait(0)
            elif what == "cancel":
                self.tasks[number].cancel()
                self.wanted.pop(number, None)
            elif what == "grow" and claim and number not in self.wanted:
                left = self.worst - claim.held
                if left and self.told[number].empty():
                    self.told[number].put_nowait(1 + which % left)

    async def rest(self) -> None:
        """Lets everything come to rest, and looks whether anybody waits who need not."""
        for _ in range(8):
            await asyncio.sleep(0)
        assert self.bound.used == sum(claim.held for claim in self.claims.values())
        assert self.bound.waiting == len(self.wanted)
        blocked: set[bytes] = set()
        for number, (count, _) in self.wanted.items():
            oldest, claim = next(iter(self.claims.values())), self.claims[number]
            assert claim is not oldest
            others = [each for each in self.claims.values() if each is not oldest]
            same = sum(each.held for each in others if each.scope == claim.scope)
            left = self.capacity - self.bound.used - (self.worst - oldest.held)
            fits = count <= left and same + count <= 3 * left
            assert claim.scope in blocked or not fits, "waits although there is room"
            blocked.add(claim.scope)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    capacity=st.integers(1, 60),
    worst=st.integers(1, 20),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["come", "come", "grow", "grow", "grow", "leave", "cancel", "rest"]),
            st.integers(0, 100),
        ),
        min_size=20,
        max_size=60,
    ),
)
def test_nobody_waits_beside_room_and_none_of_it_is_lost(
    capacity: int, worst: int, steps: list[tuple[str, int]]
) -> None:
    """Whoever comes, grows and leaves, and in whatever moment of the event loop."""

    async def campaign() -> None:
        holders = Holders(capacity, worst)
        for what, which in steps:
            holders.do(what, which)
            if what == "rest":
                await holders.rest()
            elif what in {"come", "grow"}:  # whoever comes or asks is in line at once
                await asyncio.sleep(0)
        await holders.rest()
        for task in holders.tasks:
            task.cancel()
        await asyncio.gather(*holders.tasks, return_exceptions=True)
        for task in holders.tasks:
            if not task.cancelled():
                task.result()
        assert (holders.bound.used, holders.bound.waiting) == (0, 0)

    asyncio.run(campaign())
