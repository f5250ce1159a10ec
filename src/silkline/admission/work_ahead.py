"""How much of the work of all tenants goes before a tag, without a walk over the tenants.

What a tenant contributes is a function of the tag: 0 before its own tag, then a line that rises by
its weight, then all of its work. So the sum over all tenants is a line between any two points where
one of them begins or ends to rise, and two sums over the points before the tag give it.

Tenants of which nothing waits and that owe nothing all start at the same tag, the floor, which
rises with virtual time. They are kept by how far beyond the floor they end to rise, so that they
need not be moved with it.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

from silkline.admission.ordered import PrefixSums, Rank


@dataclass(frozen=True, slots=True)
class Load:
    """What one tenant contributes.

    Attributes:
        tag: Before which it contributes nothing.
        weight: What it contributes more for each unit of virtual time, above 0.
        work: The most that it contributes.
        first: What it contributes at the tag, at most `work`.
    """

    tag: float
    weight: float
    work: float
    first: float

    def before(self, tag: float) -> float:
        """The work that goes before a tag."""
        lead = tag - self.tag
        if lead < 0 or self.work <= 0:
            return 0.0
        return min(self.work, lead * self.weight + self.first)


@dataclass(slots=True)
class _Kept:
    """Where a tenant's points are."""

    load: Load
    waits: bool
    points: tuple[Rank, ...] = ()
    idle: Rank | None = None


class WorkAhead:
    """The sum of all tenants' loads; each operation takes O(log n) and a look at n / 64 sums."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._points = PrefixSums()
        self._idle = PrefixSums()
        self._later: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()

    def set(self, tenant: str, load: Load, *, waits: bool) -> None:
        """Takes a tenant's load; unless it `waits`, its tag rises with the floor."""
        kept = self._kept.get(tenant)
        if kept is not None and kept.load == load and kept.waits == waits:
            return
        self.remove(tenant)
        if load.work <= 0:
            return
        self._kept[tenant] = self._rising(load, waits=waits)
        if not waits:
            heapq.heappush(self._later, (load.tag, self._kept[tenant].points[0][1], tenant))

    def remove(self, tenant: str) -> None:
        """Forgets a tenant's load; of no effect where none is known."""
        kept = self._kept.pop(tenant, None)
        if kept is None:
            return
        for point in kept.points:
            self._points.remove(point)
        if kept.idle is not None:
            self._idle.remove(kept.idle)

    def before(self, tag: float, floor: float) -> float:
        """The work of all tenants that goes before a tag, at least the floor of idle tenants."""
        self._settle(floor)
        constant, slope = self._points.up_to(tag)
        lead = tag - floor
        if lead < 0:
            return constant + slope * tag
        whole, weight_whole = self._idle.up_to(lead)
        weight = self._idle.total_second
        return constant + slope * tag + whole + lead * (weight - weight_whole)

    def _rising(self, load: Load, *, waits: bool) -> _Kept:
        number = next(self._numbers)
        begins = load.tag, number
        ends = load.tag + (load.work - load.first) / load.weight, next(self._numbers)
        constant = load.first - load.tag * load.weight
        self._points.add(begins, constant, load.weight)
        self._points.add(ends, load.work - constant, -load.weight)
        return _Kept(load, waits, (begins, ends))

    def _settle(self, floor: float) -> None:
        """Moves those that the floor has reached to the ones that rise with it."""
        while self._later and self._later[0][0] <= floor:
            _, number, tenant = heapq.heappop(self._later)
            kept = self._kept.get(tenant)
            if kept is None or not kept.points or kept.points[0][1] != number:
                continue
            load = kept.load
            self.remove(tenant)
            rank = load.work / load.weight, number
            self._idle.add(rank, load.work, load.weight)
            self._kept[tenant] = _Kept(load, waits=False, idle=rank)
