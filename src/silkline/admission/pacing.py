"""Pacing: spaces out the starts of requests while several tenants are active."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable

ACTIVE_SECONDS = 2.0
"""How long a tenant counts as active after its last request arrived."""

_MIN_PAUSE = 0.0005
"""The event loop's timers have a resolution of a millisecond; shorter pauses are skipped."""


class Pacing:
    """Remembers when the last request started, and which tenants were active recently."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Takes a clock that gives monotonic seconds."""
        self._clock = clock
        self._arrived: OrderedDict[str, float] = OrderedDict()
        self._started = -math.inf

    def arrived(self, tenant: str) -> None:
        """Records that a request of a tenant arrived."""
        now = self._clock()
        self._arrived[tenant] = now
        self._arrived.move_to_end(tenant)
        while next(iter(self._arrived.values())) < now - ACTIVE_SECONDS:
            self._arrived.popitem(last=False)

    def started(self) -> None:
        """Records that a request of any tenant started."""
        self._started = self._clock()

    def pause(self, tenant: str, interval: float) -> float:
        """Seconds until a tenant's request may start; 0 if no other tenant is active.

        Args:
            tenant: The request's tenant.
            interval: Minimum seconds between two starts.
        """
        now = self._clock()
        latest = itertools.islice(reversed(self._arrived.items()), 2)
        if all(name == tenant or at < now - ACTIVE_SECONDS for name, at in latest):
            return 0.0
        seconds = self._started + interval - now
        return seconds if seconds > _MIN_PAUSE else 0.0
