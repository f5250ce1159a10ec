"""Work that is shared: what it holds, how it fails, and when it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from silkline.aio.single_flight import Flight, SingleFlight
from silkline.errors import ImageFetchFailed, RequestTooLarge


class Work:
    """Gives a number when it is told to, and knows what is held of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.held = 0
        self._error = error

    @asynccontextmanager
    async def __call__(self, flight: Flight[int]) -> AsyncIterator[int]:
        self.begun += 1
        self.held += 1
        try:
            flight.advance(1)
            await self.go.wait()
            flight.advance(1)
            if self._error is not None:
                raise self._error
            yield self.begun
        finally:
            self.held -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def joined(flights: SingleFlight[str, int], work: Work) -> int:
    async with flights.join("key", work) as outcome:
        return outcome


async def test_what_it_holds_is_held_until_the_last_one_leaves() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work()
    work.go.set()
    async with flights.join("key", work) as first:
        async with flights.join("key", work) as second:
            assert (first, second, work.held) == (1, 1, 1)
        await settle()
        assert work.held == 1
        async with flights.join("key", work) as third:
            assert third == 1
    await settle()
    assert (work.held, work.begun) == (0, 1)
    assert (flights.begun, flights.joined) == (1, 2)


async def test_who_comes_after_the_last_one_left_begins_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work()
    work.go.set()
    assert [await joined(flights, work) for _ in range(3)] == [1, 2, 3]


async def test_a_defect_reaches_all_who_wait() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work(ZeroDivisionError("a defect"))
    tasks = [asyncio.create_task(joined(flights, work)) for _ in range(3)]
    await settle()
    work.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, ZeroDivisionError) for outcome in outcomes)
    assert (work.held, work.begun) == (0, 1)


async def test_an_error_of_ours_is_each_ones_own() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work(ImageFetchFailed("It did not come."))
    tasks = [asyncio.create_task(joined(flights, work)) for _ in range(3)]
    await settle()
    work.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"It did not come."}
    assert len({id(outcome) for outcome in outcomes}) == 3


async def test_all_progress_is_seen_and_may_be_too_much() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work()
    seen: list[int] = []

    def too_much(count: int) -> None:
        if count:
            raise RequestTooLarge("Too much.")

    async def watching() -> int:
        async with flights.join("key", work, seen.append) as outcome:
            return outcome

    first = asyncio.create_task(watching())
    await settle()
    with pytest.raises(RequestTooLarge):
        async with flights.join("key", work, too_much):
            pass
    late = asyncio.create_task(watching())
    await settle()
    work.go.set()
    assert [await first, await late] == [1, 1]
    assert sum(seen) == 4
    assert work.begun == 1


async def test_closing_cancels_what_runs() -> None:
    flights: SingleFlight[str, int] = SingleFlight(lambda _: True)
    work = Work()
    task = asyncio.create_task(joined(flights, work))
    await settle()
    await flights.aclose()
    with pytest.raises(Exception, match="shutting down"):
        await task
    assert work.held == 0
