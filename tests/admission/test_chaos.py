"""Everything at once, at random: nothing is lost and nothing is left."""

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.admission.tenant import Tenant
from silkline.aio.virtual import now, run
from silkline.core import Delta
from silkline.errors import (
    CapacityError,
    ImageUndecodable,
)
from tests.admission.room import INFO, SIZE, Room


class Chaos:
    """Clients that come, fail and leave at random, and engines that come and go."""

    def __init__(self, seed: int, slo: float) -> None:
        self.dice = random.Random(seed)
        self.room = Room(places=3, slo=slo, max_queue=20)
        self.tenants = [Tenant("a"), Tenant("b", weight=2.5), Tenant("c", requests_per_minute=200)]

    async def fail(self) -> AsyncGenerator[Delta, None]:
        await asyncio.sleep(self.dice.random())
        yield Delta("")
        raise ImageUndecodable("No picture.")

    async def ask(self) -> None:
        tenant = self.dice.choice(self.tenants)
        if self.dice.random() < 0.1:
            with self.room.door.admit(tenant, SIZE, INFO, timeout_seconds=9) as ticket:
                async for _ in self.room.door.computed(ticket, self.fail):
                    pass
        await self.room.ask(
            tenant,
            seconds=self.dice.choice([0.0, 0.1, 1.0]),
            timeout_seconds=self.dice.choice([1.0, 50.0]),
        )

    async def client(self) -> str:
        await asyncio.sleep(self.dice.uniform(0, 20))
        try:
            async with asyncio.timeout(self.dice.choice([0.3, 2.0, 100.0])):
                await self.ask()
        except (CapacityError, TimeoutError, ImageUndecodable) as error:
            return type(error).__name__
        return "answered"

    async def watch(self) -> None:
        """Bounds at all times; while a slot is free and somebody waits, requests go on."""
        free_since = now()
        while True:
            await asyncio.sleep(0.05)
            told = self.room.door.snapshot()
            assert told.waiting + told.preparing <= 40  # twice `max_queue`
            if not told.waiting or told.running >= told.capacity:
                free_since = now()
            assert now() - max(free_since, self.room.started_at) <= 1.0

    async def breathe(self) -> None:
        """Engines come and go while they have little to do; else only the next tick sees it."""
        while True:
            await asyncio.sleep(self.dice.uniform(0.5, 3))
            if self.room.door.snapshot().running <= 1 and not self.room.door.snapshot().waiting:
                self.room.places = self.dice.choice([1, 2, 3, 5])


@pytest.mark.slow
@pytest.mark.parametrize("slo", [0.0, 3.0])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_request_has_one_end_and_nothing_is_left(slo: float, seed: int) -> None:
    async def main() -> None:
        chaos = Chaos(seed, slo)
        watching = [asyncio.create_task(chaos.watch()), asyncio.create_task(chaos.breathe())]
        asked = [asyncio.create_task(chaos.client()) for _ in range(150)]
        done, pending = await asyncio.wait(asked, timeout=300)
        assert not pending
        assert sum(bool(task.result()) for task in done) == 150
        for task in watching:
            assert not task.done() or task.result() is None
            task.cancel()
        chaos.room.assert_empty()

    run(main())
