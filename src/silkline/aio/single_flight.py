"""Work that is done once for all who want its outcome at the same time.

The work belongs to nobody: it is a task of its own that runs while somebody waits and is cancelled
when the last one leaves, so whoever came first may go without harm to the others. What it holds is
held until the last one who has its outcome lets go.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

from silkline.errors import SilklineError, shutting_down

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Watch = Callable[[int], None]
"""Is told how far the work has come; what it raises ends its own place and no other."""


class Flight(Generic[Value]):
    """One piece of work: under way, or done and still in use."""

    def __init__(self, work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]]) -> None:
        """Starts the work; its outcome is what the context gives, which is then held open."""
        self._places: dict[asyncio.Future[Value], Watch] = {}
        self._progress = 0
        self._outcome: tuple[Value] | None = None
        self._deserted = asyncio.Event()
        self.task = asyncio.create_task(self._run(work))
        self.task.add_done_callback(self._ended)

    def advance(self, count: int) -> None:
        """Tells everybody that the work has gone on by so much."""
        self._progress += count
        for place, watch in self._places.items():
            if not place.done():
                try:
                    watch(count)
                except SilklineError as error:
                    place.set_exception(error)

    def joinable(self, good: Callable[[Value], bool]) -> bool:
        """Whether it is under way, or in use with an outcome that is good still."""
        if not self._places:
            return False  # it is about to end
        if self._outcome is not None:
            return good(self._outcome[0])
        return not self.task.done()

    @asynccontextmanager
    async def place(self, watch: Watch) -> AsyncIterator[Value]:
        """The outcome, to use within the block."""
        place: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._places[place] = watch
        try:
            watch(self._progress)
            if self._outcome is not None:
                place.set_result(self._outcome[0])
            yield await place
        finally:
            del self._places[place]
            if place.done() and not place.cancelled():
                place.exception()  # seen, also when the one who waited has left meanwhile
            if not self._places:
                self._desert()

    def _desert(self) -> None:
        if self._outcome is None:
            self.task.cancel()
        else:
            self._deserted.set()

    async def _run(
        self, work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]]
    ) -> None:
        async with work(self) as outcome:
            self._outcome = (outcome,)
            for place in self._places:
                if not place.done():
                    place.set_result(outcome)
            await self._deserted.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for place in self._places:
            if place.done():
                continue
            if isinstance(error, SilklineError):
                # Each its own: whoever raises it names the field of its own request in it.
                place.set_exception(copy.copy(error))
            else:
                place.set_exception(error or shutting_down())


class SingleFlight(Generic[Key, Value]):
    """The work that is under way, by the key of what it gives."""

    def __init__(self, good: Callable[[Value], bool]) -> None:
        """Nothing is under way yet.

        Args:
            good: Whether an outcome that others still use will do for one who comes now.
        """
        self._good = good
        self._flight_table: dict[Key, Flight[Value]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.begun = 0
        self.joined = 0

    @asynccontextmanager
    async def join(
        self,
        key: Key,
        work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]],
        watch: Watch = lambda _: None,
    ) -> AsyncIterator[Value]:
        """The outcome of the work for a key, to use within the block.

        Args:
            key: Names what the work gives.
            work: Does it, where nobody does yet.
            watch: Is told how far the work has come, what came before included.

        Raises:
            SilklineError: What the work raises, whoever it was begun for, or what `watch` raises.
            ShuttingDown: The work was ended from outside.
        """
        flight = self._flight_table.get(key)
        if flight is None or not flight.joinable(self._good):
            flight = self._start(key, work)
        else:
            self.joined += 1
        async with flight.place(watch) as outcome:
            yield outcome

    async def aclose(self) -> None:
        """Ends all work."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(
        self, key: Key, work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]]
    ) -> Flight[Value]:
        flight = self._flight_table[key] = Flight(work)
        self.begun += 1
        self._running.add(flight.task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            # A newer one may have taken its place.
            if self._flight_table.get(key) is flight:
                del self._flight_table[key]

        flight.task.add_done_callback(ended)
        return flight
