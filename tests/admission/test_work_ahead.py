"""Work ahead, crowds and shares, against their definitions as a walk over all tenants."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.admission.ordered import PrefixSums
from silkline.admission.queue import Entry, FairQueue

NAMES = [f"tenant {number}" for number in range(200)]
WEIGHTS = {name: (0.5, 1.0, 1.0, 3.0, 0.1)[place % 5] for place, name in enumerate(NAMES)}


@dataclass
class Tenant:
    """What the definition knows of a tenant."""

    tag: float = 0.0
    entries: list[Entry[None]] = field(default_factory=list)
    coming: list[float] = field(default_factory=list)


class Walked:
    """The queue, and beside it what it is defined to be, as a walk over all tenants."""

    def __init__(self, credit: float) -> None:
        self.queue: FairQueue[None] = FairQueue()
        self.queue.credit = credit
        self.credit = credit
        self.tenants: dict[str, Tenant] = {}
        self.now = self.floor = 0.0

    def tag(self, tenant: Tenant) -> float:
        return tenant.tag if tenant.entries else max(tenant.tag, self.floor)

    def ahead(self, name: str) -> float:
        own = self.tenants.get(name, Tenant())
        own_work = sum(entry.work for entry in own.entries) + sum(own.coming)
        tag = self.tag(own) + own_work / WEIGHTS[name]
        return own_work + sum(
            self.before(other, WEIGHTS[one], tag)
            for one, other in self.tenants.items()
            if one != name
        )

    def before(self, tenant: Tenant, weight: float, tag: float) -> float:
        work = sum(entry.work for entry in tenant.entries)
        half = work / len(tenant.entries) / 2 if tenant.entries else 0.0
        work += sum(tenant.coming)
        lead = tag - self.tag(tenant)
        return min(work, lead * weight + half) if lead >= 0 else 0.0

    def crowd(self, name: str) -> float:
        tenant = self.tenants[name]
        return (len(tenant.entries) + len(tenant.coming)) / WEIGHTS[name]

    def act(self, what: str, name: str, work: float) -> None:
        weight = WEIGHTS[name]
        tenant = self.tenants.setdefault(name, Tenant(self.floor))
        if what == "push":
            if not tenant.entries:
                tenant.tag = max(tenant.tag, self.floor)
            tenant.entries.append(self.queue.push(name, weight, work, None))
        elif what == "expect":
            tenant.coming.append(work)
            self.queue.expect(name, weight, work)
        elif what == "come" and tenant.coming:
            self.queue.no_longer_expect(name, tenant.coming.pop())
        elif what == "remove" and tenant.entries:
            self.queue.remove(tenant.entries.pop())
        elif what == "settle":
            tenant.tag += (work - 10) / weight
            self.queue.settle(name, weight, work - 10)
        elif what == "take" and any(one.entries for one in self.tenants.values()):
            self.take()
        elif what == "forget" and not any(one.entries for one in self.tenants.values()):
            self.queue.forget()
            self.now = self.floor = 0.0
            for one in self.tenants.values():
                one.tag = 0.0

    def take(self) -> None:
        entry = self.queue.peek()
        waiting = [one for one in self.tenants.values() if one.entries]
        first = min(waiting, key=lambda one: (one.tag, one.entries[0].number))
        assert entry is first.entries[0]
        self.now = max(self.now, first.tag)
        self.floor = max(self.floor, self.now - self.credit)
        first.tag += entry.work / WEIGHTS[entry.tenant]
        first.entries.pop(0)
        self.queue.take(entry)

    def share(self, name: str) -> float:
        others = sum(
            WEIGHTS[one]
            for one, other in self.tenants.items()
            if one != name and (other.entries or other.coming)
        )
        return WEIGHTS[name] / (WEIGHTS[name] + others)


whats = ["push", "push", "push", "expect", "expect", "come", "remove", "settle", "take", "take"]
works = st.floats(0.5, 50.0)
steps = st.tuples(st.sampled_from([*whats, "forget"]), st.integers(0, 199), works)


@given(
    st.lists(steps, max_size=80),
    st.sampled_from([0.0, 30.0]),
    st.sampled_from([3, 20, 200]),
    st.integers(0, 199),
)
@settings(max_examples=300, deadline=None)
def test_the_queue_tells_what_a_walk_over_all_tenants_would(
    script: list[tuple[str, int, float]], credit: float, tenants: int, asked: int
) -> None:
    walked = Walked(credit)
    for what, number, work in script:
        walked.act(what, NAMES[number % tenants], work)
        check(walked, NAMES[asked % tenants])


def check(walked: Walked, name: str) -> None:
    weight = WEIGHTS[name]
    assert walked.queue.ahead(name, weight) == pytest.approx(walked.ahead(name), abs=1e-6)
    assert walked.queue.share(name, weight) == pytest.approx(walked.share(name))
    waiting = [one for one, tenant in walked.tenants.items() if tenant.entries]
    fullest = walked.queue.fullest()
    assert (fullest is None) == (not waiting)
    if fullest is not None:
        assert walked.crowd(fullest) == max(map(walked.crowd, waiting))
    work = sum(entry.work for one in walked.tenants.values() for entry in one.entries)
    assert walked.queue.work == pytest.approx(work, abs=1e-6)


def test_a_crowd_of_tenants_is_told_as_a_walk_would() -> None:
    walked = Walked(20.0)
    names = [f"crowd {number}" for number in range(3_000)]
    for number, name in enumerate(names):
        WEIGHTS.setdefault(name, 1.0 + number % 3)
        walked.act(("push", "expect")[number % 2], name, 1.0 + number % 40)
    for number in range(600):
        walked.act("take", names[0], 1.0)
        walked.act(("push", "settle", "expect")[number % 3], names[number * 7 % 3_000], 5.0)
        if number % 50 == 0:
            check(walked, names[number])


keys = st.tuples(st.floats(-10, 10), st.integers(0, 10**6))


@given(st.dictionaries(keys, st.floats(0, 9), max_size=400), st.data())
@settings(deadline=None)
def test_prefix_sums_are_sums_over_what_is_there(
    pairs: dict[tuple[float, int], float], data: st.DataObject
) -> None:
    sums = PrefixSums()
    for key, value in pairs.items():
        sums.add(key, value, 1.0)
    gone = set(data.draw(st.lists(st.sampled_from(sorted(pairs)), unique=True))) if pairs else set()
    for key in gone:
        sums.remove(key)
    for bound in data.draw(st.lists(st.floats(-11, 11), min_size=1, max_size=5)):
        expected = list(kept(pairs, gone, bound))
        assert sums.up_to(bound) == pytest.approx((sum(expected), len(expected)))
    assert sums.total_second == len(pairs) - len(gone)


def kept(
    pairs: dict[tuple[float, int], float], gone: set[tuple[float, int]], bound: float
) -> Iterator[float]:
    return (value for key, value in pairs.items() if key not in gone and key[0] <= bound)
