"""The door: what is refused, what it costs, what it is told; in virtual time."""

import asyncio
from contextlib import ExitStack

import pytest

from silkline.admission.cost import Size
from silkline.admission.counts import Refusal
from silkline.admission.tenant import ANYONE, Tenant
from silkline.admission.ticket import Ticket
from silkline.aio.virtual import now, run
from silkline.core import Delta, EngineInfo
from silkline.errors import (
    DeadlineExceeded,
    ImageUndecodable,
    Overloaded,
    RateLimited,
)
from tests.admission.room import BY_PIXELS, INFO, SIZE, Room


def test_a_request_that_would_be_too_late_is_refused_at_the_door() -> None:
    async def main() -> None:
        room = Room(slo=5.0)
        await room.known()
        asked = [asyncio.create_task(room.ask()) for _ in range(10)]
        await asyncio.sleep(0)
        begun = now()
        with pytest.raises(Overloaded) as refused:
            await room.ask()
        assert now() == begun
        assert refused.value.retry_after is not None
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        in_time = [one for one in outcomes if isinstance(one, Delta)]
        assert 3 <= len(in_time) <= 5
        assert now() - begun <= 5.0
        assert room.refused()[Refusal.TOO_LATE] == 11 - len(in_time)

    run(main())


def test_who_comes_back_when_told_is_let_in() -> None:
    """All of a burst, each at the time that it was told, with nothing else to help them."""

    async def main() -> None:
        room = Room(slo=4.0)
        await room.known()
        tries: list[int] = []

        async def client() -> None:
            for attempt in range(1, 20):
                try:
                    await room.ask()
                except Overloaded as error:
                    await asyncio.sleep(error.retry_after or 0)
                else:
                    tries.append(attempt)
                    return

        await asyncio.gather(*(client() for _ in range(20)))
        assert len(tries) == 20
        assert sorted(tries)[17] <= 2

    run(main())


def test_a_free_place_is_never_refused_however_slow_the_engine_was() -> None:
    async def main() -> None:
        room = Room(slo=1.0)
        for _ in range(10):
            await room.ask(seconds=60.0)
        for _ in range(3):
            await room.ask(seconds=60.0)
        assert room.refused() == {}

    run(main())


def test_the_time_that_a_request_took_to_come_counts_against_it() -> None:
    async def main() -> None:
        room = Room(slo=5.0)
        await room.known()
        waiting = asyncio.create_task(room.ask(seconds=3))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await room.ask(elapsed_seconds=4.5)
        await room.ask()
        await waiting

    run(main())


def test_an_answer_longer_than_the_slo_may_still_wait_for_a_little() -> None:
    async def main() -> None:
        room = Room(slo=4.0)
        await room.known()
        long = Size(400_000, (), max_tokens=10)
        busy = asyncio.create_task(room.ask())
        await asyncio.sleep(0.5)
        with room.door.admit(ANYONE, long, INFO, timeout_seconds=99) as ticket:
            assert ticket.price.work > 100
        waiting = asyncio.create_task(room.ask())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            room.door.admit(ANYONE, long, INFO, timeout_seconds=99).__enter__()
        await asyncio.gather(busy, waiting)

    run(main())


def test_a_request_ends_when_its_own_time_is_over_while_it_waits() -> None:
    async def main() -> None:
        room = Room()
        busy = asyncio.create_task(room.ask(seconds=50))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await room.ask(timeout_seconds=3)
        assert now() == pytest.approx(3, abs=0.2)
        await busy
        assert room.refused() == {Refusal.EXPIRED: 1}
        room.assert_empty()

    run(main())


def test_what_waits_in_vain_is_told_before_its_time_is_over() -> None:
    async def main() -> None:
        room = Room(slo=10.0)
        await room.known()
        asked = [asyncio.create_task(room.ask(seconds=5)) for _ in range(6)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        shed = [one for one in outcomes if isinstance(one, Overloaded)]
        assert shed
        assert all(one.retry_after is not None and one.retry_after >= 1 for one in shed)
        assert room.refused()[Refusal.SHED] == len(shed)
        room.assert_empty()

    run(main())


CROWD, OTHER = Tenant("crowd"), Tenant("other")


def let_in(room: Room, stack: ExitStack, tenant: Tenant, *, lookup: bool = False) -> Ticket:
    """One that is prepared until the stack ends."""
    return stack.enter_context(
        room.door.admit(tenant, SIZE, INFO, timeout_seconds=99, lookup=lookup)
    )


def most(room: Room, stack: ExitStack, tenant: Tenant) -> int:
    """How many of a tenant's requests are let in."""
    for count in range(100):
        try:
            let_in(room, stack, tenant)
        except Overloaded:
            return count
    raise AssertionError("there is no limit")


def test_one_tenants_slow_pictures_do_not_keep_the_others_out() -> None:
    async def main() -> None:
        room = Room(max_queue=10)
        with ExitStack() as stack:
            assert most(room, stack, CROWD) == 10
            assert most(room, stack, OTHER) == 5
            assert most(room, stack, Tenant("double", weight=2.0)) == 5
            assert most(room, stack, Tenant("late")) == 0
            assert room.door.snapshot().preparing == 20
        room.assert_empty()

    run(main())


def test_a_small_share_is_still_one_request() -> None:
    async def main() -> None:
        room = Room(max_queue=4)
        with ExitStack() as stack:
            assert most(room, stack, CROWD) == 4
            counts = [most(room, stack, Tenant(str(n), weight=0.1)) for n in range(5)]
            assert counts == [1, 1, 1, 1, 0]

    run(main())


async def crowded(room: Room, waiting: int) -> list[asyncio.Task[Delta]]:
    """A crowd of which one is computed for long, and so many wait."""
    tasks = [asyncio.create_task(room.ask(CROWD, seconds=5))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(room.ask(CROWD)) for _ in range(waiting)]
    await asyncio.sleep(0)
    return tasks


def test_the_crowd_makes_room_for_who_has_less() -> None:
    async def main() -> None:
        room = Room(max_queue=10)
        tasks = await crowded(room, 10)
        with ExitStack() as stack:
            assert most(room, stack, CROWD) == 0
            assert most(room, stack, OTHER) == 7  # 5 are its share
            told = room.door.snapshot()
            assert (told.waiting, told.preparing) == (8, 7)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes] == [Delta] * 9 + [Overloaded] * 2
        assert room.refused("crowd") == {Refusal.QUEUE_FULL: 3}
        room.assert_empty()

    run(main())


def test_a_full_queue_may_ask_the_cache_and_puts_nobody_out_for_it() -> None:
    async def main() -> None:
        room = Room(max_queue=4)
        with ExitStack() as stack:
            for _ in range(8):  # so many cached answers pay for as many questions
                let_in(room, stack, OTHER).needs_no_turn()
        tasks = await crowded(room, 4)
        with ExitStack() as stack:
            for _ in range(2):
                let_in(room, stack, OTHER)
            let_in(room, stack, OTHER, lookup=True).needs_no_turn()
            missed = let_in(room, stack, OTHER, lookup=True)
            assert room.door.snapshot().waiting == 4
            room.door.cache_missed(missed)  # now one of the crowd is put out
            assert room.door.snapshot().waiting == 3
            refused = let_in(room, stack, OTHER, lookup=True)
            with pytest.raises(Overloaded, match="Too many requests wait") as told_when:
                room.door.cache_missed(refused)
            assert told_when.value.retry_after is not None
            told = room.door.snapshot()
            assert (told.waiting, told.preparing) == (3, 3)
            assert room.refused("other") == {Refusal.QUEUE_FULL: 1}
            async with room.door.turn(missed):
                pass
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes] == [Delta] * 4 + [Overloaded]
        room.assert_empty()

    run(main())


def test_a_tenants_own_limit_is_a_429_and_no_other_tenants() -> None:
    async def main() -> None:
        room = Room(places=100)
        shop = Tenant("shop", requests_per_minute=2)
        await asyncio.gather(room.ask(shop), room.ask(shop))
        with pytest.raises(RateLimited, match="2 requests per minute") as refused:
            await room.ask(shop)
        assert refused.value.retry_after == 29
        await room.ask(Tenant("other"))
        await asyncio.sleep(28)
        await room.ask(shop)
        assert room.refused("shop") == {Refusal.REQUESTS: 1}

    run(main())


def test_tokens_are_charged_by_estimate_and_settled_by_use() -> None:
    async def main() -> None:
        room = Room()
        shop = Tenant("shop", tokens_per_minute=100)
        long = Size(40, (), max_tokens=80)  # 90 tokens are thought, 20 are used
        with room.door.admit(shop, long, INFO, timeout_seconds=9) as ticket:
            assert ticket.tokens == 90
            with (
                pytest.raises(RateLimited, match="100 tokens per minute"),
                room.door.admit(shop, long, INFO, timeout_seconds=9),
            ):
                pass
            async for _ in room.door.computed(ticket, lambda: room.compute(0.0)):
                pass
        for _ in range(4):
            await room.ask(shop, seconds=0.0)
        with pytest.raises(RateLimited):
            await room.ask(shop, seconds=0.0)

    run(main())


async def _refused_in_the_queue(room: Room, shop: Tenant) -> None:
    with pytest.raises(DeadlineExceeded):
        await room.ask(shop, timeout_seconds=1)


async def _found_in_the_cache(room: Room, shop: Tenant) -> None:
    with room.door.admit(shop, SIZE, INFO, timeout_seconds=9) as ticket:
        ticket.needs_no_turn()
        ticket.needs_no_turn()
        assert room.door.snapshot().preparing == 0


async def _broken_picture(room: Room, shop: Tenant) -> None:
    with (
        pytest.raises(ImageUndecodable),
        room.door.admit(shop, SIZE, INFO, timeout_seconds=9),
    ):
        raise ImageUndecodable("No picture.")


async def _left_in_the_queue(room: Room, shop: Tenant) -> None:
    task = asyncio.create_task(room.ask(shop))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "happening", [_refused_in_the_queue, _found_in_the_cache, _broken_picture, _left_in_the_queue]
)
def test_what_the_engines_did_nothing_for_costs_no_tokens(happening: object) -> None:
    async def main() -> None:
        assert callable(happening)
        room = Room()
        busy = asyncio.create_task(room.ask(seconds=30))
        await asyncio.sleep(0)
        shop = Tenant("shop", tokens_per_minute=20)
        for _ in range(3):
            await happening(room, shop)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        room.assert_empty()

    run(main())


def test_cached_answers_are_given_in_overload_and_the_others_are_not_looked_up_for_long() -> None:
    async def main() -> None:
        room = Room(slo=4.0)
        await room.known()
        busy = [asyncio.create_task(room.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        looked = hits = 0
        with ExitStack() as stack:
            for number in range(400):
                cached = number >= 200
                try:
                    ticket = stack.enter_context(
                        room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=9, lookup=True)
                    )
                except Overloaded:
                    continue
                if cached:
                    ticket.needs_no_turn()
                    hits += 1
                else:
                    looked += 1
                    with pytest.raises(Overloaded):
                        async with room.door.turn(ticket):
                            pass
        assert looked <= 15
        assert hits >= 150
        await asyncio.gather(*busy)

    run(main())


def test_a_burst_at_the_door_is_seen_before_it_comes_to_wait() -> None:
    async def main() -> None:
        room = Room(slo=5.0)
        await room.known()
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=99))
            with pytest.raises(Overloaded):
                room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=99).__enter__()
            # Another tenant's requests would not wait for all of those.
            stack.enter_context(room.door.admit(Tenant("b"), SIZE, INFO, timeout_seconds=99))
        room.assert_empty()

    run(main())


def test_pictures_get_smaller_under_load_and_the_price_with_them() -> None:
    async def main() -> None:
        room = Room(slo=10.0, resolution_curve={0.25: 0.5})
        size = Size(0, (1_000_000,), max_tokens=10)
        await room.known()

        def seen(info: EngineInfo = BY_PIXELS, tenant: Tenant = ANYONE) -> tuple[int, float, int]:
            with room.door.admit(tenant, size, info, timeout_seconds=99) as ticket:
                return ticket.pixel_budget.max_pixels, ticket.pixel_share, ticket.tokens

        assert seen() == (100_000, 1.0, 1010)
        asked = [asyncio.create_task(room.ask()) for _ in range(5)]
        await asyncio.sleep(0)
        assert seen() == (50_000, 0.5, 510)
        assert seen(INFO) == (INFO.pixel_budget.max_pixels, 1.0, 26)
        assert seen(tenant=Tenant("calm")) == (100_000, 1.0, 1010)
        assert room.door.snapshot().pixel_share == 0.5
        await asyncio.gather(*asked)
        await asyncio.sleep(10)
        assert seen() == (100_000, 1.0, 1010)

    run(main())
