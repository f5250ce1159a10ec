"""A request for several answers is admitted, counted and refused as a whole; in virtual time."""

import asyncio
from contextlib import AbstractContextManager, ExitStack

import pytest

from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant
from silkline.admission.ticket import Ticket, TicketGroup
from silkline.aio.virtual import run
from silkline.errors import DeadlineExceeded, RateLimited
from tests.admission.room import INFO, SIZE, Room


def test_a_request_for_several_answers_is_admitted_with_the_tokens_of_all() -> None:
    async def main() -> None:
        room = Room(places=8)
        shop = Tenant("shop", tokens_per_minute=100)

        def admit(group: TicketGroup) -> AbstractContextManager[Ticket]:
            return room.door.admit(shop, SIZE, INFO, timeout_seconds=100.0, group=group)

        with ExitStack() as held:
            three = TicketGroup(answers=3)  # of 20 tokens each
            for _ in range(3):
                held.enter_context(admit(three))
            refused = TicketGroup(answers=3)
            for _ in range(3):
                with pytest.raises(RateLimited), admit(refused):
                    pass
            two = TicketGroup(answers=2)
            for _ in range(2):
                held.enter_context(admit(two))
            with pytest.raises(RateLimited), admit(TicketGroup()):
                pass
        counts = room.door.snapshot().tenants["shop"]
        assert counts.admitted == 2
        assert counts.refused == {Refusal.TOKENS: 2}
        room.assert_empty()

    run(main())


def test_a_refusal_in_the_queue_gives_a_request_for_several_answers_back_once() -> None:
    async def main() -> None:
        room = Room(slo=100.0)
        shop = Tenant("shop", requests_per_minute=2)

        async def answer(group: TicketGroup) -> None:
            with room.door.admit(shop, SIZE, INFO, timeout_seconds=1.0, group=group) as ticket:
                async for _ in room.door.computed(ticket, room.compute):
                    pass

        first = asyncio.create_task(room.ask(seconds=5.0))
        await asyncio.sleep(0.1)
        three = TicketGroup(answers=3)
        outcomes = await asyncio.gather(*(answer(three) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3
        assert room.refused("shop") == {Refusal.EXPIRED: 1}
        await first
        for _ in range(2):
            await room.ask(shop)
        with pytest.raises(RateLimited):
            await room.ask(shop)
        room.assert_empty()

    run(main())
