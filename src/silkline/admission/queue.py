"""The fair queue: start-time fair queueing over tenants with weights.

The first request of each tenant has a start tag in virtual time. The smallest tag goes first,
virtual time becomes that tag, and the tenant's next tag is larger by the work divided by the
weight. A tenant that was idle starts at virtual time minus `credit`: it can save up turns for that
much work and no more, and it does not pay for being served while no other tenant waited. For two
tenants that both wait, the work started divided by weight never differs by more than one request of
each and the credit.

P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM 1996. Several requests at a time:
SFQ(D) in W. Jin, J. Chase, J. Kaur: Interposed Proportional Sharing for a Storage Service Utility,
SIGMETRICS 2004. Work is estimated when a request starts and corrected when it is answered, as in
Y. Sheng et al.: Fairness in Serving Large Language Models, arXiv:2401.00588.

This is a plain data structure without a clock, an event loop or a capacity. An operation takes at
most O(log n) in the number of tenants, except `order`, and `ahead`, which also adds up n / 64 sums.
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
        tenant: The request's tenant.
        work: Its estimated work, above 0.
        item: The waiting item.
        number: Increases in the order of arrival.
    """

    tenant: str
    work: float
    item: _Item
    number: int


@dataclass(eq=False, slots=True)
class _TenantQueue(Generic[_Item]):
    """The requests of one tenant.

    Attributes:
        weight: The tenant's weight.
        tag: Start tag of its first entry; without entries, the minimum tag of its next one.
        work: Work of all its entries.
        coming: Work of the requests that are expected soon.
        expected: How many requests are expected soon.
        entries: The entries in order of arrival; an ordered set.
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
    """Waiting requests in fair order, by tenant."""

    def __init__(self) -> None:
        self.credit = 0.0
        """Work per unit of weight that a tenant below its share gets ahead of others.

        It may be changed at any time.
        """
        self._queues: dict[str, _TenantQueue[_Item]] = {}
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
        self._outdated: set[str] = set()
        self._changed: set[str] = set()
        self._ahead = WorkAhead()

    def __len__(self) -> int:
        return self._length

    @property
    def tenants(self) -> int:
        """Number of remembered tenants, including those without waiting requests."""
        return len(self._queues)

    @property
    def work(self) -> float:
        """Work of all waiting requests."""
        return self._work

    def push(self, tenant: str, weight: float, work: float, item: _Item) -> Entry[_Item]:
        """Puts an item at the end of its tenant's queue."""
        queue = self._queue_of(tenant, weight)
        if not queue.entries:
            self._advance()
            queue.tag = max(queue.tag, self._floor)
        entry = Entry(tenant, work, item, next(self._numbers))
        queue.entries[entry] = None
        queue.work += work
        self._length += 1
        self._work += work
        self._update(tenant, queue)
        return entry

    def peek(self) -> Entry[_Item]:
        """The entry whose turn is next. Raises `IndexError` when the queue is empty."""
        tenant = self._heads.first()
        if tenant is None:
            raise IndexError("the queue is empty")
        return self._queues[tenant].head

    def has_credit(self, tenant: str) -> bool:
        """Whether a tenant's next tag is before virtual time: it used less than its share."""
        queue = self._queues.get(tenant)
        return (self._floor if queue is None else self._tag(queue)) < self._now

    def take(self, entry: Entry[_Item]) -> None:
        """Removes the entry that `peek` returned for its turn, and charges its tenant."""
        queue = self._queues[entry.tenant]
        self._now = max(self._now, queue.tag)
        queue.tag += entry.work / queue.weight
        self._advance()
        self.remove(entry)

    def remove(self, entry: Entry[_Item]) -> None:
        """Removes an entry without a turn; its tenant is not charged."""
        queue = self._queues[entry.tenant]
        del queue.entries[entry]
        queue.work = queue.work - entry.work if queue.entries else 0.0
        self._length -= 1
        self._work = self._work - entry.work if self._length else 0.0
        self._update(entry.tenant, queue)

    def reprice(self, entry: Entry[_Item], work: float) -> None:
        """Corrects the estimated work of a waiting entry."""
        queue = self._queues[entry.tenant]
        queue.work += work - entry.work
        self._work += work - entry.work
        entry.work = work
        self._update(entry.tenant, queue)

    def last(self, tenant: str) -> Entry[_Item] | None:
        """A tenant's entry that arrived last; None when it has none."""
        queue = self._queues.get(tenant)
        return next(reversed(queue.entries)) if queue is not None and queue.entries else None

    def fullest(self) -> str | None:
        """The most crowded tenant with waiting requests; None when the queue is empty."""
        return self._crowds.first()

    def crowd(self, tenant: str) -> float:
        """A tenant's requests, waiting or expected, divided by its weight."""
        return self.held(tenant) / self._queues[tenant].weight if tenant in self._queues else 0.0

    def held(self, tenant: str) -> int:
        """A tenant's requests that wait or are expected."""
        queue = self._queues.get(tenant)
        return 0 if queue is None else queue.held

    def settle(self, tenant: str, weight: float, difference: float) -> None:
        """Charges a tenant the actual minus the estimated work; negative refunds."""
        queue = self._queue_of(tenant, weight)
        queue.tag += difference / weight
        self._update(tenant, queue)

    def expect(self, tenant: str, weight: float, work: float) -> None:
        """Counts a request that will probably be pushed soon.

        Args:
            tenant: The request's tenant.
            weight: The tenant's weight.
            work: Its work times the probability that it is pushed; at least 0.
        """
        queue = self._queue_of(tenant, weight)
        queue.expected += 1
        queue.coming += work
        self._update(tenant, queue)

    def no_longer_expect(self, tenant: str, work: float) -> None:
        """Undoes `expect`: the request was pushed, or will not be."""
        queue = self._queues[tenant]
        queue.expected -= 1
        queue.coming = queue.coming - work if queue.expected else 0.0
        self._update(tenant, queue)

    def forget(self) -> None:
        """Ends a busy period: no request waits or runs, so all tags are reset."""
        self._now = self._floor = 0.0
        for tenant in self._changed:
            queue = self._queues[tenant]
            queue.tag = 0.0
            if not queue.expected:
                self._drop(tenant)
        self._outdated |= self._changed & self._queues.keys()
        self._changed = set()

    def ahead(self, tenant: str, weight: float) -> float:
        """Work that would go before a request that this tenant pushed now.

        Another tenant's queue counts up to the tag that the pushed request would get. The entry
        that spans that tag goes first completely; on average half of it is beyond the tag.
        """
        self._update_ahead()
        own = self._queues.get(tenant)
        if own is None:
            return self._ahead.before(self._floor, self._floor)
        own_work = own.work + own.coming
        tag = self._tag(own) + own_work / weight
        load = self._load(own)
        others = self._ahead.before(tag, self._floor) - load.before(tag)
        return own_work + max(0.0, others)

    def share(self, tenant: str, weight: float) -> float:
        """The share of the service that a tenant gets beside the tenants that have requests now."""
        own = round(weight * _WEIGHT_UNIT)
        return own / (own + self._present_weight - self._present.get(tenant, 0))

    def order(self) -> Iterator[Entry[_Item]]:
        """All entries in the order of their turns, if no others are pushed."""
        queues = [self._queues[tenant] for tenant in self._heads]
        heads = [(queue.tag, queue.head.number, index) for index, queue in enumerate(queues)]
        rest = [iter(tuple(queue.entries)) for queue in queues]
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
            tag += entry.work / queues[index].weight
            heapq.heapreplace(heads, (tag, upcoming.number, index))

    def _tag(self, queue: _TenantQueue[_Item]) -> float:
        return queue.tag if queue.entries else max(queue.tag, self._floor)

    def _advance(self) -> None:
        """Raises the minimum tag of tenants that start to wait; it never falls."""
        self._floor = max(self._floor, self._now - self.credit)

    def _queue_of(self, tenant: str, weight: float) -> _TenantQueue[_Item]:
        queue = self._queues.get(tenant)
        if queue is None:
            self._sweep()
            queue = self._queues[tenant] = _TenantQueue(weight, self._floor)
        queue.weight = weight
        return queue

    def _update(self, tenant: str, queue: _TenantQueue[_Item]) -> None:
        """Updates the indexes after a tenant's queue has changed."""
        waits = bool(queue.entries)
        self._heads.set(tenant, (queue.tag, queue.head.number) if waits else None)
        self._crowds.set(tenant, (-queue.held / queue.weight, 0) if waits else None)
        present = round(queue.weight * _WEIGHT_UNIT) if queue.held else 0
        self._present_weight += present - self._present.pop(tenant, 0)
        if present:
            self._present[tenant] = present
        self._outdated.add(tenant)
        self._changed.add(tenant)

    def _load(self, queue: _TenantQueue[_Item]) -> Load:
        half = queue.work / len(queue.entries) / 2 if queue.entries else 0.0
        return Load(self._tag(queue), queue.weight, queue.work + queue.coming, half)

    def _update_ahead(self) -> None:
        """Updates the loads of changed tenants; only `ahead` needs them, so it is done there."""
        for tenant in self._outdated:
            queue = self._queues[tenant]
            self._ahead.set(tenant, self._load(queue), waits=bool(queue.entries))
        self._outdated.clear()

    def _sweep(self) -> None:
        """Occasionally drops tenants that would start at the minimum tag anyway."""
        if len(self._queues) < self._sweep_at:
            return
        for tenant, queue in tuple(self._queues.items()):
            if not queue.held and queue.tag <= self._floor:
                self._drop(tenant)
        self._changed &= self._queues.keys()
        self._sweep_at = max(_MIN_SWEEP, 2 * len(self._queues))

    def _drop(self, tenant: str) -> None:
        del self._queues[tenant]
        self._outdated.discard(tenant)
        self._ahead.remove(tenant)
