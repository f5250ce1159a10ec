"""The door and the turns, in virtual time."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.tally import Refusal
from silkline.admission.tenant import ANYONE, Tenant
from silkline.admission.ticket import Ticket
from silkline.config import AdmissionSettings
from silkline.core import Delta, FinishReason, Stage, Timeline, Usage
from silkline.engines.base import EngineInfo, PixelBudget
from silkline.errors import (
    CapacityError,
    DeadlineExceeded,
    ImageUndecodable,
    Overloaded,
    RateLimited,
    ShuttingDown,
)
from tests.admission.virtual import now, run

INFO = EngineInfo("fake", "fake", "0", "none", context_length=8192, image_tokens=16)
BY_PIXELS = EngineInfo(
    "fake",
    "fake",
    "0",
    "none",
    context_length=8192,
    image_tokens=1000,
    pixel_budget=PixelBudget(max_pixels=100_000),
    pixels_per_token=100,
)
SIZE = Size(40, (), max_tokens=10)
USAGE = Usage(10, 10)


class Room:
    """An admission whose engine takes a second for every request, or what it is told."""

    def __init__(self, places: int = 1, **chosen: object) -> None:
        self.places = places
        self.running = 0
        self.door = Admission(
            AdmissionSettings.model_validate(chosen), lambda: self.places, clock=now
        )

    async def compute(self, seconds: float = 1.0) -> AsyncGenerator[Delta, None]:
        self.running += 1
        assert self.running <= self.places
        try:
            await asyncio.sleep(seconds)
            times = Timeline({Stage.PREFILL: 0.0, Stage.GENERATE: seconds})
            yield Delta("yes", FinishReason.STOP, USAGE, times)
        finally:
            self.running -= 1

    async def ask(
        self,
        tenant: Tenant = ANYONE,
        *,
        seconds: float = 1.0,
        timeout_seconds: float = 100.0,
        elapsed_seconds: float = 0.0,
        lookup: bool = False,
        info: EngineInfo = INFO,
    ) -> Delta:
        with self.door.admit(
            tenant,
            SIZE,
            info,
            timeout_seconds=timeout_seconds,
            elapsed_seconds=elapsed_seconds,
            lookup=lookup,
        ) as ticket:
            deltas = self.door.computed(ticket, lambda: self.compute(seconds))
            return [delta async for delta in deltas][-1]

    async def known(self, times: int = 8) -> None:
        """Lets the admission learn that a request takes a second."""
        for _ in range(times):
            await asyncio.gather(*(self.ask() for _ in range(self.places)))

    def refused(self, tenant: str = "anyone") -> dict[Refusal, int]:
        return dict(self.door.snapshot().tenants[tenant].refused)

    def assert_empty(self) -> None:
        told = self.door.snapshot()
        assert (told.preparing, told.waiting, told.running, told.queue_tokens) == (0, 0, 0, 0)
        assert self.running == 0


def test_a_request_that_finds_room_goes_on_at_once() -> None:
    async def main() -> None:
        room = Room(places=2)
        last = await room.ask()
        assert now() == 1.0
        assert last.timeline is not None
        assert last.timeline.seconds[Stage.QUEUE] == 0.0
        room.assert_empty()

    run(main())


def test_the_others_wait_for_their_turn_and_are_told_how_long() -> None:
    async def main() -> None:
        room = Room(places=2)
        asked = [asyncio.create_task(room.ask()) for _ in range(5)]
        await asyncio.sleep(0.5)
        told = room.door.snapshot()
        assert (told.running, told.waiting, told.capacity) == (2, 3, 2)
        assert told.queue_tokens == 3 * 20
        waits = [(await one).timeline for one in asked]
        assert [one.seconds[Stage.QUEUE] for one in waits if one] == [0, 0, 1, 1, 2]
        room.assert_empty()

    run(main())


def test_the_place_is_free_before_the_end_of_the_answer_is_read() -> None:
    async def main() -> None:
        room = Room()
        with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=9) as ticket:
            async for _ in room.door.computed(ticket, room.compute):
                room.assert_empty()

    run(main())


def test_nothing_is_refused_before_there_is_evidence() -> None:
    async def main() -> None:
        room = Room(slo=1.5)
        asked = [asyncio.create_task(room.ask()) for _ in range(200)]
        await asyncio.sleep(0.5)
        told = room.door.snapshot()
        assert (told.running, told.waiting) == (1, 199)
        assert told.predicted_wait_seconds is None
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, Delta) for one in outcomes) >= 1
        assert {type(one) for one in outcomes} == {Delta, Overloaded}
        room.assert_empty()

    run(main())


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
                    assert error.retry_after is not None
                    await asyncio.sleep(error.retry_after)
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


def test_the_queue_is_bounded_and_the_crowd_makes_room_for_others() -> None:
    async def main() -> None:
        room = Room(max_queue=10)
        crowd, other = Tenant("crowd"), Tenant("other")
        busy = asyncio.create_task(room.ask(crowd, seconds=5))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(room.ask(crowd)) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await room.ask(crowd)
        assert refused.value.retry_after is not None
        answered = asyncio.create_task(room.ask(other))
        await asyncio.gather(busy, answered)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in outcomes] == [Delta] * 9 + [Overloaded]
        assert room.refused("crowd") == {Refusal.QUEUE_FULL: 2}
        room.assert_empty()

    run(main())


def test_a_client_that_leaves_leaves_the_queue_at_once() -> None:
    async def main() -> None:
        room = Room()
        busy = asyncio.create_task(room.ask(seconds=5))
        await asyncio.sleep(0)
        leaving = [asyncio.create_task(room.ask()) for _ in range(20)]
        await asyncio.sleep(1)
        assert room.door.snapshot().waiting == 20
        for one in leaving:
            one.cancel()
        await asyncio.sleep(0)
        told = room.door.snapshot()
        assert (told.waiting, told.running, told.queue_tokens) == (0, 1, 0)
        await busy
        await asyncio.gather(*leaving, return_exceptions=True)
        room.assert_empty()

    run(main())


def test_a_turn_that_comes_as_its_client_leaves_is_passed_on() -> None:
    async def main() -> None:
        room = Room()
        first = asyncio.create_task(room.ask())
        await asyncio.sleep(0)
        second, third = asyncio.create_task(room.ask()), asyncio.create_task(room.ask())
        await asyncio.sleep(0)

        def leave() -> None:
            second.cancel()

        first.add_done_callback(lambda _: leave())  # in the step in which the turn is given
        await asyncio.gather(first, third)
        assert second.cancelled()
        room.assert_empty()

    run(main())


@pytest.mark.parametrize("slo", [0.0, 3.0])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_request_has_one_end_and_nothing_is_left(slo: float, seed: int) -> None:
    """Random arrivals, durations, failures, departures and engines that come and go."""

    async def main() -> None:
        dice = random.Random(seed)
        room = Room(places=3, slo=slo, max_queue=20)
        tenants = [Tenant("a"), Tenant("b", weight=2.5), Tenant("c", requests_per_minute=200)]

        async def fail() -> AsyncGenerator[Delta, None]:
            await asyncio.sleep(dice.random())
            if dice.random() < 2:
                raise ImageUndecodable("No picture.")
            yield Delta("")

        async def one() -> str:
            await asyncio.sleep(dice.uniform(0, 20))
            try:
                async with asyncio.timeout(dice.choice([0.3, 2.0, 100.0])):
                    if dice.random() < 0.1:
                        with room.door.admit(
                            dice.choice(tenants), SIZE, INFO, timeout_seconds=9
                        ) as ticket:
                            async for _ in room.door.computed(ticket, fail):
                                pass
                    await room.ask(
                        dice.choice(tenants),
                        seconds=dice.choice([0.0, 0.1, 1.0]),
                        timeout_seconds=dice.choice([1.0, 50.0]),
                    )
            except (CapacityError, TimeoutError, ImageUndecodable) as error:
                return type(error).__name__
            return "answered"

        async def watch() -> None:
            while True:
                await asyncio.sleep(0.05)
                told = room.door.snapshot()
                assert told.waiting + told.preparing <= 20
                # Work conservation: who waits does so because all places are taken.
                assert not told.waiting or told.running >= room.places

        async def breathe() -> None:
            while True:
                await asyncio.sleep(dice.uniform(0.5, 3))
                while room.door.snapshot().waiting or room.door.snapshot().running > 1:
                    await asyncio.sleep(0.1)  # a change under load is seen by the next tick only
                room.places = dice.choice([1, 2, 3, 5])

        watching = [asyncio.create_task(watch())]
        asked = [asyncio.create_task(one()) for _ in range(150)]
        watching.append(asyncio.create_task(breathe()))
        done, pending = await asyncio.wait(asked, timeout=300)
        assert not pending
        for task in watching:
            assert not task.done() or task.result() is None
            task.cancel()
        assert len([task.result() for task in done]) == 150
        room.assert_empty()

    run(main())


def test_engines_that_come_back_are_seen_without_being_told() -> None:
    async def main() -> None:
        room = Room(places=0)
        asked = [asyncio.create_task(room.ask()) for _ in range(3)]
        await asyncio.sleep(5)
        assert room.door.snapshot().waiting == 3
        room.places = 3
        await asyncio.gather(*asked)
        assert now() < 6.5
        room.assert_empty()

    run(main())


def test_engines_that_do_not_come_back_are_not_waited_for() -> None:
    async def main() -> None:
        room = Room(places=0)
        with pytest.raises(Overloaded):
            await room.ask()
        assert now() == pytest.approx(10, abs=0.2)
        with pytest.raises(Overloaded):
            await room.ask()
        assert now() == pytest.approx(10, abs=0.2)
        room.assert_empty()

    run(main())


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        room = Room()
        busy = asyncio.create_task(room.ask())
        waiting = [asyncio.create_task(room.ask()) for _ in range(3)]
        await asyncio.sleep(0.1)
        room.door.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in outcomes} == {ShuttingDown}
        with pytest.raises(ShuttingDown):
            await room.ask()
        assert (await busy).text == "yes"
        room.assert_empty()

    run(main())


def test_a_tenants_own_limit_is_a_429_and_no_other_tenants() -> None:
    async def main() -> None:
        room = Room(places=100)
        shop = Tenant("shop", requests_per_minute=2)
        await asyncio.gather(room.ask(shop), room.ask(shop))
        with pytest.raises(RateLimited, match="2 requests a minute") as refused:
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
                pytest.raises(RateLimited, match="100 tokens a minute"),
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


def test_the_leader_may_leave_while_its_computation_goes_on() -> None:
    async def main() -> None:
        room = Room()
        busy = asyncio.create_task(room.ask())
        await asyncio.sleep(0)

        async def flight(ticket: Ticket) -> list[Delta]:
            return [delta async for delta in room.door.computed(ticket, room.compute)]

        with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=9) as ticket:
            flying = asyncio.create_task(flight(ticket))
            await asyncio.sleep(0.5)
        assert room.door.snapshot().waiting == 1
        assert len(await flying) == 1
        await busy
        room.assert_empty()

    run(main())


def test_what_needed_no_turn_may_need_one_after_all() -> None:
    async def main() -> None:
        room = Room()
        with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=9) as ticket:
            ticket.needs_no_turn()
            assert [delta.text async for delta in room.door.computed(ticket, room.compute)] == [
                "yes"
            ]
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
            for _ in range(5):
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


def test_no_task_and_no_timer_is_left() -> None:
    async def main() -> None:
        room = Room()
        await asyncio.gather(*(room.ask() for _ in range(5)))
        gc.collect()
        assert len(asyncio.all_tasks()) == 1
        assert room.door._turns._timer is None

    run(main())
