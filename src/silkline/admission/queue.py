"""Whose turn it is: start-time fair queueing over tenants with weights.

A tenant's head carries a start tag in virtual time; the smallest goes first, virtual time becomes
that tag, and the tenant's next tag is larger by the work divided by the weight. A tenant that was
idle starts at virtual time less `credit`: it can save up turns for that much work, and no more, and
it does not pay for having been served while nobody else waited. Two tenants that both wait are
never further apart, in work that went on divided by weight, than one request of each and the
credit.

P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM 1996. Several requests at a time:
SFQ(D) in W. Jin, J. Chase, J. Kaur: Interposed Proportional Sharing for a Storage Service Utility,
SIGMETRICS 2004. Work is estimated when a request goes and corrected when it is answered, as in
Y. Sheng et al.: Fairness in Serving Large Language Models, arXiv:2401.00588.

This is a plain data structure: it knows no time, no event loop and no capacity. An operation takes
at most O(log n) in the number of tenants, but for `order`, and for `ahead`, which adds up n / 64
sums besides.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from silkline.admission.ordered import Ranking
from silkline.admission.work_ahead import Load, WorkAhead

_Item = TypeVar("_Item")

_MIN_SWEEP = 64
_WEIGHT_UNIT = 2**40


@dataclass(eq=False, slots=True)
class Entry(Generic[_Item]):
    """A request in the queue.

    Attributes:
        tenant: Whose it is.
        work: What it costs, above 0.
        item: What waits.
        number: Counts up in the order of arrival.
    """

    tenant: str
    work: float
    item: _Item
    number: int


@dataclass(eq=False, slots=True)
class _Line(Generic[_Item]):
    """The requests of one tenant.

    Attributes:
        weight: Its share.
        tag: Start tag of its first entry; without one, the least tag of its next.
        work: Of all its entries.
        coming: Work that is expected soon.
        expected: In how many requests.
        entries: In the order of arrival; an ordered set.
    """

    weight: float
    tag: float
    work: float = 0.0
    coming: float = 0.0
    expected: int = 0
    entries: OrderedDict[Entry[_Item], None] = field(default_factory=OrderedDict)

    @property
    def held(self) -> int:
        """Requests that wait or are expected."""
        return len(self.entries) + self.expected

    @property
    def head(self) -> Entry[_Item]:
        """The first entry; there must be one."""
        return next(iter(self.entries))


class FairQueue(Generic[_Item]):
    """Requests that wait, by tenant."""

    def __init__(self) -> None:
        self.credit = 0.0
        """Work, for each unit of weight, that a tenant that used less than its share gets ahead of
        others; may be changed at any time."""
        self._lines: dict[str, _Line[_Item]] = {}
        self._now = 0.0
        self._floor = 0.0
        self._length = 0
        self._work = 0.0
        self._numbers = itertools.count()
        self._sweep_at = _MIN_SWEEP
        self._heads = Ranking()
        self._crowds = Ranking()
        self._present: dict[str, int] = {}
        self._present_weight = 0
        self._unfiled: set[str] = set()
        self._changed: set[str] = set()
        self._ahead = WorkAhead()

    def __len__(self) -> int:
        return self._length

    @property
    def tenants(self) -> int:
        """Tenants that are remembered, including those that have nothing waiting."""
        return len(self._lines)

    @property
    def work(self) -> float:
        """Of all that waits."""
        return self._work

    def push(self, tenant: str, weight: float, work: float, item: _Item) -> Entry[_Item]:
        """Puts an item at the end of its tenant's line."""
        line = self._line(tenant, weight)
        if not line.entries:
            self._advance()
            line.tag = max(line.tag, self._floor)
        entry = Entry(tenant, work, item, next(self._numbers))
        line.entries[entry] = None
        line.work += work
        self._length += 1
        self._work += work
        self._update(tenant, line)
        return entry

    def peek(self) -> Entry[_Item]:
        """The entry whose turn is next. Raises `IndexError` when none waits."""
        tenant = self._heads.first()
        if tenant is None:
            raise IndexError("the queue is empty")
        return self._lines[tenant].head

    def has_credit(self, tenant: str) -> bool:
        """Whether a tenant's next request is behind virtual time: it used less than its share."""
        line = self._lines.get(tenant)
        return (self._floor if line is None else self._tag(line)) < self._now

    def take(self, entry: Entry[_Item]) -> None:
        """Lets the entry that `peek` gave go, and charges its tenant."""
        line = self._lines[entry.tenant]
        self._now = max(self._now, line.tag)
        line.tag += entry.work / line.weight
        self._advance()
        self.remove(entry)

    def remove(self, entry: Entry[_Item]) -> None:
        """Takes an entry out that did not have its turn; its tenant is not charged."""
        line = self._lines[entry.tenant]
        del line.entries[entry]
        line.work = line.work - entry.work if line.entries else 0.0
        self._length -= 1
        self._work = self._work - entry.work if self._length else 0.0
        self._update(entry.tenant, line)

    def reprice(self, entry: Entry[_Item], work: float) -> None:
        """Corrects what an entry that waits will cost."""
        line = self._lines[entry.tenant]
        line.work += work - entry.work
        self._work += work - entry.work
        entry.work = work
        self._update(entry.tenant, line)

    def last(self, tenant: str) -> Entry[_Item] | None:
        """The entry of a tenant that came last; None when none waits."""
        line = self._lines.get(tenant)
        return next(reversed(line.entries)) if line is not None and line.entries else None

    def fullest(self) -> str | None:
        """The most crowded of the tenants of which something waits; None when nothing does."""
        return self._crowds.first()

    def crowd(self, tenant: str) -> float:
        """What a tenant holds divided by its weight."""
        return self.held(tenant) / self._lines[tenant].weight if tenant in self._lines else 0.0

    def held(self, tenant: str) -> int:
        """Requests of a tenant that wait or are expected."""
        line = self._lines.get(tenant)
        return 0 if line is None else line.held

    def settle(self, tenant: str, weight: float, difference: float) -> None:
        """Charges a tenant for work that was more than estimated, or less when negative."""
        line = self._line(tenant, weight)
        line.tag += difference / weight
        self._update(tenant, line)

    def expect(self, tenant: str, weight: float, work: float) -> None:
        """Notes a request that will probably come soon.

        Args:
            tenant: Whose.
            weight: Its share.
            work: What it will cost, times the probability that it comes; at least 0.
        """
        line = self._line(tenant, weight)
        line.expected += 1
        line.coming += work
        self._update(tenant, line)

    def no_longer_expect(self, tenant: str, work: float) -> None:
        """Takes back what `expect` noted: it has come, or will not."""
        line = self._lines[tenant]
        line.expected -= 1
        line.coming = line.coming - work if line.expected else 0.0
        self._update(tenant, line)

    def forget(self) -> None:
        """Ends a busy period: nobody waits or is served, so nobody owes anything."""
        self._now = self._floor = 0.0
        for tenant in self._changed:
            line = self._lines[tenant]
            line.tag = 0.0
            if not line.expected:
                self._drop(tenant)
        self._unfiled |= self._changed & self._lines.keys()
        self._changed = set()

    def ahead(self, tenant: str, weight: float) -> float:
        """Work that goes before what this tenant would push now.

        Another tenant's line counts up to the tag that the pushed request would get. The entry that
        spans that tag goes first as a whole; on average half of it is beyond the tag.
        """
        self._file()
        own = self._lines.get(tenant)
        if own is None:
            return self._ahead.before(self._floor, self._floor)
        own_work = own.work + own.coming
        tag = self._tag(own) + own_work / weight
        load = self._load(own)
        others = self._ahead.before(tag, self._floor) - load.before(tag)
        return own_work + max(0.0, others)

    def share(self, tenant: str, weight: float) -> float:
        """The part of all that is served that a tenant gets beside those that wait now."""
        own = round(weight * _WEIGHT_UNIT)
        return own / (own + self._present_weight - self._present.get(tenant, 0))

    def order(self) -> Iterator[Entry[_Item]]:
        """All entries in the order in which they go if nothing else comes."""
        lines = [self._lines[tenant] for tenant in self._heads]
        heads = [(line.tag, line.head.number, index) for index, line in enumerate(lines)]
        rest = [iter(tuple(line.entries)) for line in lines]
        following = [next(entries) for entries in rest]
        heapq.heapify(heads)
        while heads:
            tag, _, index = heads[0]
            entry = following[index]
            yield entry
            upcoming = next(rest[index], None)
            if upcoming is None:
                heapq.heappop(heads)
                continue
            following[index] = upcoming
            tag += entry.work / lines[index].weight
            heapq.heapreplace(heads, (tag, upcoming.number, index))

    def _tag(self, line: _Line[_Item]) -> float:
        return line.tag if line.entries else max(line.tag, self._floor)

    def _advance(self) -> None:
        """Moves the least tag of those who come anew on; it never goes back."""
        self._floor = max(self._floor, self._now - self.credit)

    def _line(self, tenant: str, weight: float) -> _Line[_Item]:
        line = self._lines.get(tenant)
        if line is None:
            self._sweep()
            line = self._lines[tenant] = _Line(weight, self._floor)
        line.weight = weight
        return line

    def _update(self, tenant: str, line: _Line[_Item]) -> None:
        """Brings what is kept about a line that has changed up to date."""
        waits = bool(line.entries)
        self._heads.set(tenant, (line.tag, line.head.number) if waits else None)
        self._crowds.set(tenant, (-line.held / line.weight, 0) if waits else None)
        present = round(line.weight * _WEIGHT_UNIT) if line.held else 0
        self._present_weight += present - self._present.pop(tenant, 0)
        if present:
            self._present[tenant] = present
        self._unfiled.add(tenant)
        self._changed.add(tenant)

    def _load(self, line: _Line[_Item]) -> Load:
        half = line.work / len(line.entries) / 2 if line.entries else 0.0
        return Load(self._tag(line), line.weight, line.work + line.coming, half)

    def _file(self) -> None:
        """Only `ahead` needs it, so changes between two of these cost once."""
        for tenant in self._unfiled:
            line = self._lines[tenant]
            self._ahead.set(tenant, self._load(line), waits=bool(line.entries))
        self._unfiled.clear()

    def _sweep(self) -> None:
        """Forgets tenants that would start at the least tag anyway, now and then."""
        if len(self._lines) < self._sweep_at:
            return
        for tenant, line in tuple(self._lines.items()):
            if not line.held and line.tag <= self._floor:
                self._drop(tenant)
        self._changed &= self._lines.keys()
        self._sweep_at = max(_MIN_SWEEP, 2 * len(self._lines))

    def _drop(self, tenant: str) -> None:
        del self._lines[tenant]
        self._unfiled.discard(tenant)
        self._ahead.remove(tenant)
