"""How fast the engines answer, and when who was refused may come back."""

from __future__ import annotations

import math
from collections.abc import Callable

MAX_RETRY_SECONDS = 30
"""The longest `Retry-After`: what lies further ahead cannot be told."""

_MEMORY = 0.05
_EVIDENCE = 4.0
_MIN_WEIGHT = 0.02


class Throughput:
    """Work that one slot in the engines gets done in a second.

    By Little's law, slots times this is the rate of the whole: it needs no busy period to be
    measured in, is blind to pauses, and takes answers that end together as well as those that end
    one by one. A slot is slower while the others are taken as well, so an answer counts by the
    square of the share of slots that were taken with it: a quiet hour does not hide what full
    engines can do.
    """

    def __init__(self) -> None:
        self._work = 0.0
        self._seconds = 0.0
        self._evidence = 0.0

    def note(self, work: float, seconds: float, occupancy: float) -> None:
        """Takes an answered request.

        Args:
            work: What it was.
            seconds: How long it held its slot.
            occupancy: The share of slots that were taken, itself included, 0 to 1.
        """
        weight = min(1.0, max(_MIN_WEIGHT, occupancy**2))
        keep = 1.0 - _MEMORY * weight
        self._work = self._work * keep + work * weight
        self._seconds = self._seconds * keep + seconds * weight
        self._evidence += weight

    @property
    def speed(self) -> float | None:
        """Work a second and slot; None until enough was answered to tell."""
        if self._evidence < _EVIDENCE or self._seconds <= 0:
            return None
        return self._work / self._seconds


class RetryTimes:
    """Tells those who are refused when to come back, each at a time of its own.

    If all were told when the queue will have room, all would come at once and all but a few would
    be refused again. So each one's time is put behind the one before it, by what its answer takes.
    """

    def __init__(self, clock: Callable[[], float], *, max_tenants: int = 1000) -> None:
        self._clock = clock
        self._maximum = max_tenants
        self._next: dict[str, float] = {}

    def seconds(self, tenant: str, excess: float, service: float) -> int:
        """Whole seconds after which to try again, 1 to `MOST_RETRY_SECONDS`.

        Args:
            tenant: Whose request was refused.
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
    """Which requests may still ask the cache when they would be too late for the engines.

    A cached answer needs no engine, but whether there is one is known only after some work. So the
    cached answers pay for the lookups that are in vain: these are never many more than those.
    """

    _MAX_CREDIT = 64.0
    _TRICKLE = 1 / 16

    def __init__(self) -> None:
        self._credit = 0.0

    def allow(self) -> bool:
        """Whether one more may look."""
        self._credit = min(self._MAX_CREDIT, self._credit + self._TRICKLE)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def found(self, *, allowed: bool) -> None:
        """Notes that the cache had the answer; `allowed` when it was asked by `allow`."""
        self._credit = min(self._MAX_CREDIT, self._credit + (2.0 if allowed else 1.0))
