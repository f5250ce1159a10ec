"""Isolation: retries the suspects of a worker's death one at a time, in all processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self

from silkline.errors import DeadlineExceeded
from silkline.stores.memory import Lock, Memory, PrivateMemory, Region

LOOK_SECONDS = 0.02
"""Time between two looks whether another process's suspect has ended."""


class Isolation:
    """Gives turns to suspects in order of arrival; one suspect has a turn at a time."""

    def __init__(
        self, memory: Memory | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes where the lock is that gateway processes share; `clock` gives monotonic seconds."""
        self._clock = clock
        self._turns = asyncio.Lock()
        self._processes = (memory or PrivateMemory()).lock(Region.ISOLATION)
        self._waiting = 0

    async def turn(self, deadline: float) -> SuspectTurn:
        """Waits for a turn, until `deadline` on the monotonic clock.

        Raises:
            DeadlineExceeded: The turn did not come before the deadline.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - self._clock()):
                await self._acquire()
        except TimeoutError:
            raise too_late() from None
        finally:
            self._waiting -= 1
        # The waiting suspects share half of the time that is left; the other half is for the last
        # one's answer.
        share = (deadline - self._clock()) / 2 / (1 + self._waiting)
        return SuspectTurn(self._turns, self._processes, self._clock, patience=share)

    async def _acquire(self) -> None:
        await self._turns.acquire()
        try:
            while not self._processes.try_acquire():  # noqa: ASYNC110 - another process frees it
                await asyncio.sleep(LOOK_SECONDS)
        except BaseException:
            self._turns.release()
            raise


class SuspectTurn:
    """The right to be the only suspect in flight, until its block ends or `end` is called."""

    def __init__(
        self, turns: asyncio.Lock, processes: Lock, clock: Callable[[], float], patience: float
    ) -> None:
        """Takes over two held locks; `patience` is this suspect's share of the time, in seconds."""
        self._turns = turns
        self._processes = processes
        self._clock = clock
        self._until = clock() + patience
        self._held = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def yield_if_long(self) -> None:
        """Ends the turn if this suspect has used up its share of the time."""
        if self._clock() > self._until:
            self.end()

    def end(self) -> None:
        """Lets the next suspect start; idempotent."""
        if self._held:
            self._held = False
            self._processes.release()
            self._turns.release()


def too_late() -> DeadlineExceeded:
    """The error for a request whose timeout ended while it waited for an engine."""
    return DeadlineExceeded(
        "The timeout of this request ended before an engine could take it; allow more time, or "
        "try again when there is less load."
    )
