"""Shares a computation between the requests that ask for the same at the same time.

A computation belongs to nobody: it is a task of its own, runs while somebody reads it, and ends
when the last reader leaves. So whoever came first may go without harm to the others. What it gives
is kept until then, which an answer's length bounds: every reader sees all of it from the beginning,
at its own pace, and a slow one holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import TypeAlias

from silkline.cache.policy import CacheState
from silkline.core import Delta, join
from silkline.errors import DeadlineExceeded, shutting_down

JOIN_SHARE = 0.5
"""The part of its own time that a computation must still have for a request to join it.

A computation ends with the time of the request that began it; without this, one that joins late
would be told that its time is over when it has hardly begun.
"""


Produce: TypeAlias = "Callable[[Flight], AsyncGenerator[Delta, None]]"
"""Gives an answer's deltas; it must tell the flight where they come from before the first."""


class Flight:
    """One computation, which runs from when it is made.

    Attributes:
        deadline: When its time is over, by the loop's clock.
        deltas: What it gave so far.
        readers: How many read it.
        state: Where the answer comes from; None until that is known.
        task: What computes.
    """

    def __init__(self, produce: Produce, deadline: float) -> None:
        """Starts to compute."""
        self.deadline = deadline
        self.deltas: list[Delta] = []
        self.readers = 0
        self.state: CacheState | None = None
        self._given_up = False
        self._traceback: TracebackType | None = None
        self._news = asyncio.Event()
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._run(produce))
        self.task.add_done_callback(self._ended)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole."""
        return bool(self.deltas) and self.deltas[-1].finish_reason is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._end.is_set()

    def begin(self, state: CacheState) -> None:
        """Tells the readers where the answer comes from: `MISS` where it is computed."""
        self.state = state
        self._announce()

    def give_up(self) -> None:
        """Ends it at once; a library that swallows being cancelled only delays that."""
        self._given_up = True
        self.task.cancel()

    def check(self) -> None:
        """Raises what ended the computation, unless it came to its end."""
        if self._given_up or self.task.cancelled():
            raise shutting_down()
        if error := self.task.exception():
            # Each reader raises it: without this, their frames would pile up in one traceback.
            raise error.with_traceback(self._traceback)

    async def news(self) -> None:
        """Waits until something has changed."""
        await self._news.wait()

    async def end(self) -> None:
        """Waits until nothing more will come."""
        await self._end.wait()

    async def _run(self, produce: Produce) -> None:
        async with aclosing(produce(self)) as deltas:
            async for delta in deltas:
                self.deltas.append(delta)
                self._announce()
                if self._given_up:
                    return

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._traceback = error.__traceback__
        self._end.set()
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Reader:
    """One request's place at a computation."""

    def __init__(self, flight: Flight, deadline: float, *, leads: bool, whole: bool) -> None:
        """Takes a place.

        Args:
            flight: The computation.
            deadline: Until when to read, by the loop's clock.
            leads: Whether it was begun for this request.
            whole: Whether to read the answer in one piece.
        """
        self._leads = leads
        self._flight = flight
        self._deadline = deadline
        self._whole = whole

    async def state(self) -> CacheState:
        """What the cache does for this request, as soon as that is known.

        Raises:
            SilklineError: The computation failed before, or the request's time is over.
        """
        while self._flight.state is None:
            if self._flight.ended:
                self._flight.check()
                break
            await self._in_time(self._flight.news)
        if self._flight.state in {None, CacheState.MISS}:
            return CacheState.MISS if self._leads else CacheState.COALESCED
        return self._flight.state

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The answer from its beginning; raises what the computation raises, and when it does."""
        flight = self._flight
        if self._whole:
            await self._in_time(flight.end)
            flight.check()
            if flight.deltas:
                yield join(flight.deltas)
            return
        place = 0
        while True:
            if place < len(flight.deltas):
                place += 1
                yield flight.deltas[place - 1]
            elif flight.ended:
                flight.check()
                return
            else:
                await self._in_time(flight.news)

    async def _in_time(self, event: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await event()
        except TimeoutError:
            raise DeadlineExceeded(
                "The answer was not whole when the time of the request was over."
            ) from None


class Coalescer:
    """The computations that run, by the key of what they compute."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}
        self._running: set[Flight] = set()

    def __len__(self) -> int:
        """Computations that run."""
        return len(self._running)

    @contextmanager
    def join(
        self, key: bytes, produce: Produce, *, timeout_seconds: float, whole: bool, renew: bool
    ) -> Iterator[Reader]:
        """Takes a place at the computation of `key`; leaving the block gives it up.

        Args:
            key: Names what is computed.
            produce: Computes it, where nobody does yet.
            timeout_seconds: Seconds that the request has.
            whole: Whether to read the answer in one piece.
            renew: Whether a computation that began before will not do.
        """
        now = asyncio.get_running_loop().time()
        flight = None if renew else self._joinable(key, now + JOIN_SHARE * timeout_seconds)
        leads = flight is None
        if flight is None:
            flight = self._start(key, produce, now + timeout_seconds)
        with self._place(key, flight):
            yield Reader(flight, now + timeout_seconds, leads=leads, whole=whole)

    @contextmanager
    def follow(self, key: bytes, *, timeout_seconds: float, whole: bool) -> Iterator[Reader | None]:
        """Takes a place like `join`, but only where `key` is being computed; None elsewhere."""
        now = asyncio.get_running_loop().time()
        flight = self._joinable(key, now + JOIN_SHARE * timeout_seconds)
        if flight is None:
            yield None
            return
        with self._place(key, flight):
            yield Reader(flight, now + timeout_seconds, leads=False, whole=whole)

    async def aclose(self) -> None:
        """Ends all computations."""
        running = tuple(self._running)
        for flight in running:
            flight.give_up()
        if running:
            await asyncio.wait([flight.task for flight in running])

    @contextmanager
    def _place(self, key: bytes, flight: Flight) -> Iterator[None]:
        """Counts a reader; when the last one leaves too early, the computation ends."""
        flight.readers += 1
        try:
            yield
        finally:
            flight.readers -= 1
            if not flight.readers and not flight.complete:
                flight.give_up()
                self._forget(key, flight)

    def _joinable(self, key: bytes, min_deadline: float) -> Flight | None:
        flight = self._flights.get(key)
        if flight is not None and (flight.complete or flight.deadline >= min_deadline):
            return flight
        return None

    def _start(self, key: bytes, produce: Produce, deadline: float) -> Flight:
        flight = self._flights[key] = Flight(produce, deadline)
        self._running.add(flight)

        def ended(_: asyncio.Task[None]) -> None:
            self._running.discard(flight)
            self._forget(key, flight)

        flight.task.add_done_callback(ended)
        return flight

    def _forget(self, key: bytes, flight: Flight) -> None:
        # A newer one may have taken its place.
        if self._flights.get(key) is flight:
            del self._flights[key]
