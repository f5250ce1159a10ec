"""Isolation: retries the suspects of a worker's death one at a time."""

from __future__ import annotations

import asyncio
import time

from silkline.errors import DeadlineExceeded


class Isolation:
    """Gives turns to suspects in order of arrival; one suspect has a turn at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def turn(self, deadline: float) -> SuspectTurn:
        """Waits for a turn, until `deadline` on the monotonic clock.

        Raises:
            DeadlineExceeded: The turn did not come before the deadline.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._lock.acquire()
        except TimeoutError:
            raise too_late() from None
        finally:
            self._waiting -= 1
        # The waiting suspects share half of the time that is left; the other half is for the last
        # one's answer.
        share = (deadline - time.monotonic()) / 2 / (1 + self._waiting)
        return SuspectTurn(self._lock, patience=share)


class SuspectTurn:
    """The right to be the only suspect in flight."""

    def __init__(self, lock: asyncio.Lock, patience: float) -> None:
        """Takes over a held lock; `patience` is this suspect's share of the time, in seconds."""
        self._lock = lock
        self._until = time.monotonic() + patience
        self._held = True

    def yield_if_long(self) -> None:
        """Ends the turn if this suspect has used up its share of the time."""
        if time.monotonic() > self._until:
            self.end()

    def end(self) -> None:
        """Lets the next suspect start; idempotent."""
        if self._held:
            self._held = False
            self._lock.release()


def too_late() -> DeadlineExceeded:
    """The error for a request whose timeout ended while it waited for an engine."""
    return DeadlineExceeded(
        "The timeout of this request ended before an engine could take it; allow more time, or "
        "try again when there is less load."
    )
