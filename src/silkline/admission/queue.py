"""Whose turn it is: start-time fair queueing over tenants with weights.

A tenant's head carries a start tag in virtual time; the smallest goes first, virtual time becomes
that tag, and the tenant's next tag is larger by the work divided by the weight. A tenant that comes
anew starts at virtual time: it can neither save up turns nor be made to pay for having been served
while nobody else wanted to be. Two tenants that both wait are never further apart, in work that
went on divided by weight, than one request of each.

P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM 1996. Several requests at a time:
SFQ(D) in W. Jin, J. Chase, J. Kaur: Interposed Proportional Sharing for a Storage Service Utility,
SIGMETRICS 2004. Work is estimated when a request goes and corrected when it is answered, as in
Y. Sheng et al.: Fairness in Serving Large Language Models, arXiv:2401.00588.

This is a plain data structure: it knows no time, no event loop and no capacity.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_SWEEP_AT_LEAST = 64


@dataclass(eq=False, slots=True)
class Entry(Generic[_Item]):
    """A place in the queue.

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
    """One tenant's place.

    Attributes:
        weight: Its share.
        tag: Start tag of its first entry; without one, that which its next would have at least.
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


class FairQueue(Generic[_Item]):
    """Requests that wait, by tenant."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[_Item]] = {}
        self._now = 0.0
        self._length = 0
        self._numbers = itertools.count()
        self._sweep_at = _SWEEP_AT_LEAST

    def __len__(self) -> int:
        return self._length

    @property
    def tenants(self) -> int:
        """Tenants that are remembered, those included that have nothing waiting."""
        return len(self._lines)

    def push(self, tenant: str, weight: float, work: float, item: _Item) -> Entry[_Item]:
        """Puts an item at the end of its tenant's line."""
        line = self._line(tenant, weight)
        if not line.entries:
            line.tag = max(line.tag, self._now)
        entry = Entry(tenant, work, item, next(self._numbers))
        line.entries[entry] = None
        line.work += work
        self._length += 1
        return entry

    def peek(self) -> Entry[_Item]:
        """The entry whose turn is next. Raises `IndexError` when none waits."""
        _, number, line = min(
            ((line.tag, _head(line).number, line) for line in self._lines.values() if line.entries),
            default=(0.0, -1, None),
        )
        if line is None:
            raise IndexError(f"the queue is empty ({number})")
        return _head(line)

    def take(self, entry: Entry[_Item]) -> None:
        """Lets the entry that `peek` gave go, and charges its tenant."""
        line = self._lines[entry.tenant]
        self._now = max(self._now, line.tag)
        line.tag += entry.work / line.weight
        self.remove(entry)

    def remove(self, entry: Entry[_Item]) -> None:
        """Takes an entry out that did not have its turn; its tenant is not charged."""
        line = self._lines[entry.tenant]
        del line.entries[entry]
        line.work = line.work - entry.work if line.entries else 0.0
        self._length -= 1

    def reprice(self, entry: Entry[_Item], work: float) -> None:
        """Corrects what an entry that waits will cost."""
        self._lines[entry.tenant].work += work - entry.work
        entry.work = work

    def last(self, tenant: str) -> Entry[_Item] | None:
        """The entry of a tenant that came last; None when none waits."""
        line = self._lines.get(tenant)
        return next(reversed(line.entries)) if line is not None and line.entries else None

    def fullest(self) -> str | None:
        """The most crowded of the tenants of which something waits; None when nothing does."""
        full = [name for name, line in self._lines.items() if line.entries]
        return max(full, key=self.crowd, default=None)

    def crowd(self, tenant: str) -> float:
        """What a tenant holds divided by its weight."""
        return self.held(tenant) / self._lines[tenant].weight if tenant in self._lines else 0.0

    def held(self, tenant: str) -> int:
        """Requests of a tenant that wait or are expected."""
        line = self._lines.get(tenant)
        return 0 if line is None else len(line.entries) + line.expected

    def settle(self, tenant: str, weight: float, difference: float) -> None:
        """Charges a tenant for work that was more than estimated, or less when negative."""
        self._line(tenant, weight).tag += difference / weight

    def expect(self, tenant: str, weight: float, work: float) -> None:
        """Notes a request that will probably come soon."""
        line = self._line(tenant, weight)
        line.expected += 1
        line.coming += work

    def no_longer_expect(self, tenant: str, work: float) -> None:
        """Takes back what `expect` noted: it has come, or will not."""
        line = self._lines[tenant]
        line.expected -= 1
        line.coming = line.coming - work if line.expected else 0.0

    def forget(self) -> None:
        """Ends a busy period: nobody waits or is served, so nobody owes anything."""
        self._now = 0.0
        self._lines = {name: line for name, line in self._lines.items() if line.expected}
        for line in self._lines.values():
            line.tag = 0.0

    def ahead(self, tenant: str, weight: float, coming_share: float = 1.0) -> float:
        """Work that goes before what this tenant would push now.

        Args:
            tenant: Whose.
            weight: Its share.
            coming_share: The part of the expected work that is counted.
        """
        own = self._lines.get(tenant)
        own_work = 0.0 if own is None else own.work + own.coming * coming_share
        tag = (self._now if own is None else self._tag(own)) + own_work / weight
        return own_work + sum(
            _before(line, tag - self._tag(line), coming_share)
            for line in self._lines.values()
            if line is not own
        )

    def share(self, tenant: str, weight: float) -> float:
        """The part of all that is served that a tenant gets beside those that wait now."""
        others = sum(
            line.weight
            for name, line in self._lines.items()
            if name != tenant and (line.entries or line.expected)
        )
        return weight / (weight + others)

    def order(self) -> Iterator[Entry[_Item]]:
        """All entries in the order in which they go if nothing else comes."""
        heads = [
            (self._tag(line), _head(line).number, place)
            for place, line in enumerate(self._lines.values())
            if line.entries
        ]
        lines = list(self._lines.values())
        rest = {place: iter(tuple(lines[place].entries)) for _, _, place in heads}
        following = {place: next(rest[place]) for place in rest}
        heapq.heapify(heads)
        while heads:
            tag, _, place = heads[0]
            entry = following[place]
            yield entry
            upcoming = next(rest[place], None)
            if upcoming is None:
                heapq.heappop(heads)
                continue
            following[place] = upcoming
            tag += entry.work / lines[place].weight
            heapq.heapreplace(heads, (tag, upcoming.number, place))

    def _tag(self, line: _Line[_Item]) -> float:
        return line.tag if line.entries else max(line.tag, self._now)

    def _line(self, tenant: str, weight: float) -> _Line[_Item]:
        line = self._lines.get(tenant)
        if line is None:
            self._sweep()
            line = self._lines[tenant] = _Line(weight, self._now)
        line.weight = weight
        return line

    def _sweep(self) -> None:
        """Forgets tenants that start at virtual time anyway, now and then."""
        if len(self._lines) < self._sweep_at:
            return
        self._lines = {
            name: line
            for name, line in self._lines.items()
            if line.entries or line.expected or line.tag > self._now
        }
        self._sweep_at = max(_SWEEP_AT_LEAST, 2 * len(self._lines))


def _head(line: _Line[_Item]) -> Entry[_Item]:
    return next(iter(line.entries))


def _before(line: _Line[_Item], lead: float, coming_share: float) -> float:
    """Work of a line that goes before a tag that is ahead of the line's own by `lead`."""
    work = line.work + line.coming * coming_share
    if lead < 0 or work <= 0:
        return 0.0
    # The entry that spans the tag goes before it as a whole: on average half of it is beyond.
    half = line.work / len(line.entries) / 2 if line.entries else 0.0
    return min(work, lead * line.weight + half)
