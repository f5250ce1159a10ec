"""A training that ends when its time is used up."""

from __future__ import annotations

import time


class Meter:
    """Progress by wall clock: a stage ends when its time is used up."""

    def __init__(self, seconds: float, already: float = 0.0) -> None:
        """``already`` seconds of the budget were used before a resume."""
        self._start = time.monotonic() - already
        self._seconds = seconds

    @property
    def elapsed(self) -> float:
        """Seconds used so far."""
        return time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """Share of the budget used, at most 1."""
        return min(self.elapsed / self._seconds, 1.0)

    @property
    def left(self) -> float:
        """Seconds left."""
        return max(self._seconds - self.elapsed, 0.0)
