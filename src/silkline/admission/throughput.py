"""The engines' throughput, retry times of refused requests, and credit for cache lookups."""

from __future__ import annotations

import math
from collections.abc import Callable

MAX_RETRY_SECONDS = 30
"""Maximum `Retry-After`: the load further ahead cannot be predicted."""

_MEMORY = 0.05
_EVIDENCE = 4.0
_MIN_WEIGHT = 0.02


class Throughput:
    """Work that one slot in the engines does per second.

    By Little's law, the total rate is slots times this. So it can be measured without a busy
    period, ignores pauses, and works for answers that end together as well as for those that end
    one by one. A slot is slower while the other slots are taken too, so an answer is weighted by
    the square of the share of taken slots: quiet hours do not distort the rate of full engines.
    """

    def __init__(self) -> None:
        self._work = 0.0
        self._seconds = 0.0
        self._evidence = 0.0

    def note(self, work: float, seconds: float, occupancy: float) -> None:
        """Records an answered request.

        Args:
            work: Its actual work.
            seconds: How long it held its slot.
            occupancy: The share of slots that were taken, its own included, 0 to 1.
        """
        weight = min(1.0, max(_MIN_WEIGHT, occupancy**2))
        keep = 1.0 - _MEMORY * weight
        self._work = self._work * keep + work * weight
        self._seconds = self._seconds * keep + seconds * weight
        self._evidence += weight

    @property
    def speed(self) -> float | None:
        """Work per second and slot; None until enough requests were answered."""
        if self._evidence < _EVIDENCE or self._seconds <= 0:
            return None
        return self._work / self._seconds


class RetryTimes:
    """Computes when refused requests should retry, a different time for each.

    If all got the time at which the queue will have room, all would come at once, and most would be
    refused again. So each time is later than the last one by the time that its answer takes.
    """

    def __init__(self, clock: Callable[[], float], *, max_tenants: int = 1000) -> None:
        self._clock = clock
        self._maximum = max_tenants
        self._next: dict[str, float] = {}

    def seconds(self, tenant: str, excess: float, service: float) -> int:
        """Whole seconds after which to try again, 1 to `MAX_RETRY_SECONDS`.

        Args:
            tenant: The tenant of the refused request.
            excess: Seconds until the queue has room for it.
            service: Seconds that the tenant's share of the engines takes to answer it.
        """
        now = self._clock()
        moment = max(self._next.get(tenant, 0.0), now + excess)
        if len(self._next) >= self._maximum and tenant not in self._next:
            self._next = {name: at for name, at in self._next.items() if at > now}
        if len(self._next) < self._maximum or tenant in self._next:
            self._next[tenant] = min(moment + service, now + MAX_RETRY_SECONDS)
        return min(MAX_RETRY_SECONDS, max(1, math.ceil(moment - now)))


class LookupCredit:
    """Which requests may still read the cache when they would be too late for the engines.

    A cached answer needs no engine, but a lookup costs some work. So cache hits pay for lookups
    that miss: there are never many more misses than hits.
    """

    _MAX_CREDIT = 64.0
    _TRICKLE = 1 / 16

    def __init__(self) -> None:
        self._credit = 0.0

    def allow(self) -> bool:
        """Whether one more request may read the cache."""
        self._credit = min(self._MAX_CREDIT, self._credit + self._TRICKLE)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def found(self, *, allowed: bool) -> None:
        """Records a cache hit; `allowed` if the lookup was paid for by `allow`."""
        self._credit = min(self._MAX_CREDIT, self._credit + (2.0 if allowed else 1.0))
