"""One suspect at a time: how requests that were at a worker's death are tried again."""

from __future__ import annotations

import asyncio
import time

from silkline.errors import DeadlineExceeded


class Isolation:
    """Gives turns to suspects, in the order in which they ask; one holds it at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def turn(self, deadline: float) -> Turn:
        """Waits for a turn, until `deadline` on the monotonic clock.

        Raises:
            DeadlineExceeded: It did not come in time.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._lock.acquire()
        except TimeoutError:
            raise too_late() from None
        finally:
            self._waiting -= 1
        # All who wait share half of the time that is left; the last needs the other half to answer.
        share = (deadline - time.monotonic()) / 2 / (1 + self._waiting)
        return Turn(self._lock, patience=share)


class Turn:
    """The right to be the only suspect in flight."""

    def __init__(self, lock: asyncio.Lock, patience: float) -> None:
        """Takes over a held lock; `patience` is this suspect's share of the time, in seconds."""
        self._lock = lock
        self._until = time.monotonic() + patience
        self._held = True

    def yield_if_long(self) -> None:
        """Lets the next suspect go when this one took its share of the time."""
        if time.monotonic() > self._until:
            self.end()

    def end(self) -> None:
        """Lets the next suspect go; once is enough."""
        if self._held:
            self._held = False
            self._lock.release()


def too_late() -> DeadlineExceeded:
    """The error of a request that waited for its whole time."""
    return DeadlineExceeded("The time for this request was over before an engine could take it.")
