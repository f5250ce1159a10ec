"""Counts for how long an engine had requests, and how many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from silkline.core import Health


class Occupancy:
    """The requests in an engine over time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins empty; `clock` is in seconds."""
        self._clock = clock
        self._requests = 0
        self._since = clock()
        self._busy = 0.0
        self._slots = 0.0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while the block runs."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def added_to(self, health: Health) -> Health:
        """Returns an engine's health with what was counted so far."""
        self._change(0)
        return replace(health, busy_seconds=self._busy, slot_seconds=self._slots)

    def _change(self, by: int) -> None:
        now = self._clock()
        elapsed = now - self._since
        self._since = now
        if self._requests:
            self._busy += elapsed
            self._slots += elapsed * self._requests
        self._requests += by
