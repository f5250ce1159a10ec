"""Single-flight: concurrent callers with the same key share one computation.

The work is a task of its own. It runs while at least one caller waits, and is cancelled when the
last one leaves, so the first caller can leave without affecting the others. The work's resources
are released when the last caller is done with its outcome.
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

OnProgress = Callable[[int], None]
"""Called with each advance of the work; an exception that it raises ends only its own caller."""


class Flight(Generic[Value]):
    """One computation: running, or done and its outcome still in use."""

    def __init__(self, work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]]) -> None:
        """Starts the work: a context that gives the outcome and stays open while it is used."""
        self._waiters: dict[asyncio.Future[Value], OnProgress] = {}
        self._progress = 0
        self._outcome: tuple[Value] | None = None
        self._abandoned = asyncio.Event()
        self.task = asyncio.create_task(self._run(work))
        self.task.add_done_callback(self._ended)

    def advance(self, count: int) -> None:
        """Reports to all waiters that the work advanced by `count`."""
        self._progress += count
        for waiter, on_progress in self._waiters.items():
            if not waiter.done():
                try:
                    on_progress(count)
                except SilklineError as error:
                    waiter.set_exception(error)

    def joinable(self, good: Callable[[Value], bool]) -> bool:
        """Whether a new caller may join: it is running, or its outcome is in use and still good."""
        if not self._waiters:
            return False  # it is about to end
        if self._outcome is not None:
            return good(self._outcome[0])
        return not self.task.done()

    @asynccontextmanager
    async def wait(self, on_progress: OnProgress) -> AsyncIterator[Value]:
        """Waits for the outcome, and keeps it usable within the block."""
        waiter: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = on_progress
        try:
            on_progress(self._progress)
            if self._outcome is not None:
                waiter.set_result(self._outcome[0])
            yield await waiter
        finally:
            del self._waiters[waiter]
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # marks it as retrieved, even if its caller has left
            if not self._waiters:
                self._abandon()

    def _abandon(self) -> None:
        if self._outcome is None:
            self.task.cancel()
        else:
            self._abandoned.set()

    async def _run(
        self, work: Callable[[Flight[Value]], AbstractAsyncContextManager[Value]]
    ) -> None:
        async with work(self) as outcome:
            self._outcome = (outcome,)
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(outcome)
            await self._abandoned.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for waiter in self._waiters:
            if waiter.done():
                continue
            if isinstance(error, SilklineError):
                # A copy for each, as each caller sets `param` to the field of its own request.
                waiter.set_exception(copy.copy(error))
            else:
                waiter.set_exception(error or shutting_down())


class SingleFlight(Generic[Key, Value]):
    """Runs work once per key, for all callers that want it at the same time."""

    def __init__(self, good: Callable[[Value], bool]) -> None:
        """Creates it with no work running.

        Args:
            good: Whether a new caller may use an outcome that others still use.
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
        on_progress: OnProgress = lambda _: None,
    ) -> AsyncIterator[Value]:
        """Joins the work for a key or starts it; yields its outcome, to use within the block.

        Args:
            key: Identifies the outcome.
            work: Starts the work, if it is not yet running.
            on_progress: Called with each advance of the work; first with its progress so far.

        Raises:
            SilklineError: Raised by the work, even if another caller started it, or by
                `on_progress`.
            ShuttingDown: The work was cancelled.
        """
        flight = self._flight_table.get(key)
        if flight is None or not flight.joinable(self._good):
            flight = self._start(key, work)
        else:
            self.joined += 1
        async with flight.wait(on_progress) as outcome:
            yield outcome

    async def aclose(self) -> None:
        """Cancels all work."""
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
            # A newer flight may have replaced it.
            if self._flight_table.get(key) is flight:
                del self._flight_table[key]

        flight.task.add_done_callback(ended)
        return flight
