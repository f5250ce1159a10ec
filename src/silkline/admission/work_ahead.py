"""The work of all tenants that goes before a tag, computed without iterating over the tenants.

A tenant's contribution is a function of the tag: 0 before its own tag, then a line with its weight
as slope, then constant at all of its work. So the sum over all tenants is piecewise linear, with a
breakpoint where a contribution starts or stops rising, and two prefix sums over the breakpoints
give its value at a tag.

Tenants without waiting requests whose tag is not above the floor all start at the floor, which
rises with virtual time. They are stored by the distance from the floor at which they stop rising,
so they need not be updated when the floor rises.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

from silkline.admission.ordered import PrefixSums, Rank


@dataclass(frozen=True, slots=True)
class Load:
    """One tenant's contribution, as a function of the tag.

    Attributes:
        tag: The contribution is 0 before this tag.
        weight: The slope after the tag: work per unit of virtual time, above 0.
        work: The maximum contribution.
        first: The contribution at the tag, at most `work`.
    """

    tag: float
    weight: float
    work: float
    first: float

    def before(self, tag: float) -> float:
        """This tenant's work that goes before a tag."""
        lead = tag - self.tag
        if lead < 0 or self.work <= 0:
            return 0.0
        return min(self.work, lead * self.weight + self.first)


@dataclass(slots=True)
class _TenantLoad:
    """A tenant's load, and the keys of its breakpoints."""

    load: Load
    waits: bool
    points: tuple[Rank, ...] = ()
    idle: Rank | None = None


class WorkAhead:
    """The sum of all tenants' loads; an operation takes O(log n), and adds up n / 64 sums."""

    def __init__(self) -> None:
        self._loads: dict[str, _TenantLoad] = {}
        self._points = PrefixSums()
        self._idle = PrefixSums()
        self._later: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()

    def set(self, tenant: str, load: Load, *, waits: bool) -> None:
        """Sets a tenant's load; unless it `waits`, its tag rises with the floor."""
        tenant_load = self._loads.get(tenant)
        if tenant_load is not None and tenant_load.load == load and tenant_load.waits == waits:
            return
        self.remove(tenant)
        if load.work <= 0:
            return
        self._loads[tenant] = self._rising(load, waits=waits)
        if not waits:
            heapq.heappush(self._later, (load.tag, self._loads[tenant].points[0][1], tenant))

    def remove(self, tenant: str) -> None:
        """Removes a tenant's load; idempotent."""
        tenant_load = self._loads.pop(tenant, None)
        if tenant_load is None:
            return
        for point in tenant_load.points:
            self._points.remove(point)
        if tenant_load.idle is not None:
            self._idle.remove(tenant_load.idle)

    def before(self, tag: float, floor: float) -> float:
        """The work of all tenants that goes before a tag; idle tenants start at `floor`."""
        self._settle(floor)
        constant, slope = self._points.up_to(tag)
        lead = tag - floor
        if lead < 0:
            return constant + slope * tag
        work, weight = self._idle.up_to(lead)
        rising_weight = self._idle.total_second - weight
        return constant + slope * tag + work + lead * rising_weight

    def _rising(self, load: Load, *, waits: bool) -> _TenantLoad:
        number = next(self._numbers)
        begins = load.tag, number
        ends = load.tag + (load.work - load.first) / load.weight, next(self._numbers)
        constant = load.first - load.tag * load.weight
        self._points.add(begins, constant, load.weight)
        self._points.add(ends, load.work - constant, -load.weight)
        return _TenantLoad(load, waits, (begins, ends))

    def _settle(self, floor: float) -> None:
        """Moves tenants that the floor has reached to the idle ones, which rise with it."""
        while self._later and self._later[0][0] <= floor:
            _, number, tenant = heapq.heappop(self._later)
            tenant_load = self._loads.get(tenant)
            if tenant_load is None or not tenant_load.points or tenant_load.points[0][1] != number:
                continue
            load = tenant_load.load
            self.remove(tenant)
            rank = load.work / load.weight, number
            self._idle.add(rank, load.work, load.weight)
            self._loads[tenant] = _TenantLoad(load, waits=False, idle=rank)
