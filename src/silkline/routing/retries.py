"""The retry budget: limits how many requests are retried.

When many calls fail, retrying each of them doubles the load on the remaining replicas and keeps
them overloaded. So retries are paid from a bucket that requests fill (Finagle's `RetryBudget`; the
share is that of "Handling overload" in Google's Site Reliability Engineering, chapter 21).
"""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.1
"""Retries per request, in the long term."""

FLOOR_PER_SECOND = 0.1
"""Free retries a second, so that a rare failure under low load is retried too."""

MAX_SAVED = 100.0
"""Maximum saved retries, for when a replica with many requests is lost."""

SAVED_AT_FIRST = 10.0


class RetryBudget:
    """A bucket of retries."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with a few retries; `clock` gives monotonic seconds."""
        self._clock = clock
        self._saved = SAVED_AT_FIRST
        self._filled_at = clock()

    def request(self) -> None:
        """Counts a request, which earns its share of a retry."""
        self._saved = min(MAX_SAVED, self._saved + SHARE)

    def spend(self) -> bool:
        """Takes one retry; False when there is none left."""
        now = self._clock()
        earned = (now - self._filled_at) * FLOOR_PER_SECOND
        self._filled_at = now
        self._saved = min(MAX_SAVED, self._saved + earned)
        # Ten tenths of a retry make one, although their floating-point sum is a little less.
        if self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True
