"""How far apart requests start while several tenants are active."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable

ACTIVE_SECONDS = 2.0
"""For how long a tenant counts as active after a request of its came."""

_MIN_PAUSE = 0.0005
"""Timers of the event loop are no finer than a millisecond; less is not worth one."""


class Pacing:
    """Remembers when a request started last, and which tenants were active of late."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Takes a clock that gives seconds and never goes back."""
        self._clock = clock
        self._came: OrderedDict[str, float] = OrderedDict()
        self._started = -math.inf

    def came(self, tenant: str) -> None:
        """Notes that a request of a tenant came."""
        now = self._clock()
        self._came[tenant] = now
        self._came.move_to_end(tenant)
        while next(iter(self._came.values())) < now - ACTIVE_SECONDS:
            self._came.popitem(last=False)

    def started(self) -> None:
        """Notes that a request started, of whichever tenant."""
        self._started = self._clock()

    def pause(self, tenant: str, interval: float) -> float:
        """Seconds until a tenant's request may start, 0 where no other tenant is active.

        Args:
            tenant: Whose.
            interval: Seconds that starts are to be apart.
        """
        now = self._clock()
        latest = itertools.islice(reversed(self._came.items()), 2)
        if all(name == tenant or at < now - ACTIVE_SECONDS for name, at in latest):
            return 0.0
        seconds = self._started + interval - now
        return seconds if seconds > _MIN_PAUSE else 0.0
