"""Scheduler: who waits, for how long, and who leaves; in virtual time."""

import asyncio
import gc

import pytest

from silkline.admission.cost import Size
from silkline.admission.tenant import ANYONE, Tenant
from silkline.admission.ticket import Ticket
from silkline.aio.virtual import now, run
from silkline.core import Delta, Stage
from silkline.errors import (
    Overloaded,
    RateLimited,
    ShuttingDown,
)
from tests.admission.room import INFO, SIZE, Room


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
        assert [one.seconds[Stage.QUEUE] for one in waits if one] == pytest.approx([0, 0, 1, 1, 2])
        room.assert_empty()

    run(main())


def test_the_backlog_is_the_waiting_work_in_seconds_of_the_engines() -> None:
    async def main() -> None:
        room = Room(places=2)
        assert room.door.snapshot().backlog_seconds == 0.0
        first = [asyncio.create_task(room.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        assert room.door.snapshot().backlog_seconds is None  # no answer yet, so no rate
        await asyncio.gather(*first)
        await room.known()
        running = [asyncio.create_task(room.ask()) for _ in range(2)]
        await asyncio.sleep(0)
        assert room.door.snapshot().backlog_seconds == 0.0
        waiting = [asyncio.create_task(room.ask()) for _ in range(6)]
        await asyncio.sleep(0)
        assert room.door.snapshot().backlog_seconds == pytest.approx(3.0, rel=0.05)
        room.places = 0  # there is no rate to give without an engine
        assert room.door.snapshot().backlog_seconds is None
        room.places = 2
        await asyncio.gather(*running, *waiting)
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


@pytest.mark.parametrize("before", [True, False])
def test_a_turn_that_comes_as_its_client_leaves_is_passed_on(before: bool) -> None:
    """The client leaves just before, or just after, the turn is given to its request."""

    async def main() -> None:
        room = Room()
        second: asyncio.Task[Delta]

        async def first() -> None:
            with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=9) as ticket:
                async with room.door.turn(ticket):
                    await asyncio.sleep(1)
                    if before:
                        second.cancel()
                if not before:
                    assert room.door.snapshot().running == 1
                    second.cancel()

        running = asyncio.create_task(first())
        await asyncio.sleep(0)
        second, third = asyncio.create_task(room.ask()), asyncio.create_task(room.ask())
        await asyncio.gather(running, third)
        assert second.cancelled()
        assert now() == 2.0
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


def test_a_free_place_is_given_to_a_request_that_came_late() -> None:
    """Its picture took longer to fetch than the answer should; refusing it would help nobody."""

    async def main() -> None:
        room = Room(slo=1.0)
        await room.known()
        with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=99) as ticket:
            await asyncio.sleep(5)
            async with room.door.turn(ticket) as turn:
                assert turn.waited == 0.0

    run(main())


def test_a_guess_at_the_first_answers_refuses_nobody() -> None:
    """Clients ask for 4,096 tokens as a habit; the first answer tells that they use ten."""

    async def main() -> None:
        room = Room(places=4)
        size = Size(40, (), max_tokens=4096)

        async def ask(fetching: float) -> None:
            with room.door.admit(ANYONE, size, INFO, timeout_seconds=20) as ticket:
                await asyncio.sleep(fetching)
                async for _ in room.door.computed(ticket, room.compute):
                    pass

        asked = [asyncio.create_task(ask(2.5 if number % 4 else 0)) for number in range(44)]
        await asyncio.sleep(0.5)
        assert room.door.snapshot().queue_tokens == 7 * 4106
        await asyncio.sleep(0.7)
        assert room.door.snapshot().queue_tokens == 3 * 20
        with room.door.admit(ANYONE, SIZE, INFO, timeout_seconds=5):
            pass
        await asyncio.gather(*asked)
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
        shop = Tenant("shop", tokens_per_minute=30)
        with room.door.admit(shop, SIZE, INFO, timeout_seconds=9) as ticket:
            ticket.needs_no_turn()
            async with room.door.turn(ticket):
                with pytest.raises(RateLimited):  # its tokens are charged again
                    room.door.admit(shop, SIZE, INFO, timeout_seconds=9).__enter__()
        room.assert_empty()

    run(main())


def test_no_task_and_no_timer_is_left() -> None:
    async def main() -> None:
        room = Room()
        await asyncio.gather(*(room.ask() for _ in range(5)))
        gc.collect()
        assert len(asyncio.all_tasks()) == 1
        assert room.door._scheduler._timer is None

    run(main())
