"""How many requests may be in the pool at a time, and when to come again when it is full."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from silkline.errors import Overloaded

RATE_SECONDS = 30.0
"""Over what time the rate of answers is taken; also the longest `retry_after`."""


class Places:
    """The places of a pool."""

    def __init__(self, most: int) -> None:
        """Has `most` places, all free."""
        self._most = most
        self._answered: deque[float] = deque(maxlen=256)
        self._busy_since = 0.0
        self.held = 0
        """Places that are held now."""

    @contextmanager
    def reserve(self) -> Generator[None, None, None]:
        """Holds a place until the block ends; raises `Overloaded` when all are taken."""
        if self.held >= self._most:
            raise Overloaded(
                "There are more requests than can be answered in time; try again later.",
                retry_after=self._seconds_to_drain(),
            )
        if not self.held:
            self._busy_since = time.monotonic()
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    def note_answer(self) -> None:
        """A request was answered."""
        self._answered.append(time.monotonic())

    def _seconds_to_drain(self) -> int:
        """How long it takes to answer all that is held, at the rate of late, in seconds."""
        now = time.monotonic()
        since = max(self._busy_since, now - RATE_SECONDS)
        answered = sum(1 for moment in self._answered if moment >= since)
        seconds = (now - since) * self.held / max(1, answered)
        return max(1, math.ceil(min(seconds, RATE_SECONDS)))
