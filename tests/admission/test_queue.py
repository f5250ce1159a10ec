"""The fair queue: shares, order, memory."""

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.admission.queue import Entry, FairQueue

WEIGHTS = {"a": 1.0, "b": 1.0, "c": 3.0, "d": 0.5}
MOST_WORK = 50.0

tenants = st.sampled_from(sorted(WEIGHTS))
works = st.floats(1.0, MOST_WORK)
pushes = st.tuples(st.just("push"), tenants, works)
takes = st.tuples(st.just("take"), st.none(), st.none())
removals = st.tuples(st.just("remove"), st.none(), st.integers(0, 50))
scripts = st.lists(pushes | takes | removals, max_size=150)


@dataclass
class Driven:
    """A queue, what is in it, and what each tenant has had."""

    queue: FairQueue[int] = field(default_factory=FairQueue)
    inside: list[Entry[int]] = field(default_factory=list)
    served: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WEIGHTS, 0.0))
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def push(self, tenant: str, work: float) -> Entry[int]:
        entry = self.queue.push(tenant, WEIGHTS[tenant], work, next(self.numbers))
        self.inside.append(entry)
        return entry

    def take(self) -> Entry[int]:
        entry = self.queue.peek()
        self.queue.take(entry)
        self.inside.remove(entry)
        self.served[entry.tenant] += entry.work / WEIGHTS[entry.tenant]
        return entry

    def remove(self, place: int) -> None:
        self.queue.remove(self.inside.pop(place % len(self.inside)))

    def act(self, what: str, tenant: str | None, amount: float | int | None) -> None:
        if what == "push":
            assert tenant is not None
            assert amount is not None
            self.push(tenant, amount)
        elif what == "take" and self.inside:
            self.take()
        elif what == "remove" and self.inside:
            assert isinstance(amount, int)
            self.remove(amount)

    def backlogged(self, tenant: str) -> bool:
        return any(entry.tenant == tenant for entry in self.inside)


@given(scripts)
@settings(max_examples=300)
def test_two_that_wait_are_never_further_apart_than_one_request_of_each(
    script: list[tuple[str, str | None, float | int | None]],
) -> None:
    """The bound of SFQ, over every interval in which both wait, whatever else happens."""
    driven = Driven()
    apart: dict[tuple[str, str], tuple[float, float]] = {}
    for step in script:
        driven.act(*step)
        for pair in itertools.combinations(WEIGHTS, 2):
            one, other = pair
            difference = driven.served[one] - driven.served[other]
            if not (driven.backlogged(one) and driven.backlogged(other)):
                apart.pop(pair, None)
                continue
            low, high = apart.get(pair, (difference, difference))
            apart[pair] = low, high = min(low, difference), max(high, difference)
            bound = MOST_WORK / WEIGHTS[one] + MOST_WORK / WEIGHTS[other]
            assert high - low <= bound + 1e-6


@given(scripts)
def test_a_tenants_requests_go_in_their_order_and_none_is_lost(
    script: list[tuple[str, str | None, float | int | None]],
) -> None:
    driven = Driven()
    for step in script:
        driven.act(*step)
        assert len(driven.queue) == len(driven.inside)
    expected = set(driven.inside)
    gone = [driven.take() for _ in range(len(driven.queue))]
    assert set(gone) == expected
    for tenant in WEIGHTS:
        own = [entry.item for entry in gone if entry.tenant == tenant]
        assert own == sorted(own)
    with pytest.raises(IndexError):
        driven.queue.peek()


@given(scripts)
def test_the_order_told_is_the_order_in_which_they_go(
    script: list[tuple[str, str | None, float | int | None]],
) -> None:
    driven = Driven()
    for step in script:
        driven.act(*step)
    told = [entry.item for entry in driven.queue.order()]
    assert told == [driven.take().item for _ in range(len(driven.queue))]


@given(scripts, tenants, works)
def test_the_work_ahead_is_what_goes_first_if_nothing_else_comes(
    script: list[tuple[str, str | None, float | int | None]], tenant: str, work: float
) -> None:
    driven = Driven()
    for step in script:
        driven.act(*step)
    told = driven.queue.ahead(tenant, WEIGHTS[tenant])
    mine = driven.push(tenant, work)
    gone = itertools.takewhile(lambda entry: entry is not mine, iter(driven.take, None))
    assert told == pytest.approx(
        sum(entry.work for entry in gone), abs=MOST_WORK * (len(WEIGHTS) - 1)
    )


@given(scripts, tenants, works, st.randoms(use_true_random=False))
def test_nobody_starves_whatever_the_others_send(
    script: list[tuple[str, str | None, float | int | None]],
    tenant: str,
    work: float,
    dice: random.Random,
) -> None:
    """What goes before a request is bounded when it comes, however many come after it."""
    driven = Driven()
    for step in script:
        driven.act(*step)
    weight = WEIGHTS[tenant]
    own = sum(entry.work for entry in driven.inside if entry.tenant == tenant)
    others = [name for name in WEIGHTS if name != tenant]
    mine = driven.push(tenant, work)
    # Each of the others gets its share of the time that the own line takes, and is at most one
    # request's work off that on either side, and so is the own line.
    lead = (own + 2 * MOST_WORK) / weight
    bound = own + sum(lead * WEIGHTS[name] + 2 * MOST_WORK for name in others)
    before = 0.0
    while True:
        for name in others:
            driven.push(name, dice.uniform(1, MOST_WORK))
        gone = driven.take()
        if gone is mine:
            return
        before += gone.work
        assert before <= bound


def test_who_was_away_gets_no_arrears() -> None:
    driven = Driven()
    for _ in range(100):
        driven.push("a", 1)
        driven.take()
    for _ in range(10):
        driven.push("b", 1)
        driven.push("a", 1)
    gone = [driven.take().tenant for _ in range(10)]
    assert gone.count("a") == 5


def test_who_went_and_comes_back_gets_no_arrears_either() -> None:
    driven = Driven()
    driven.push("b", 1)
    for _ in range(50):
        driven.push("a", 1)
    for _ in range(41):
        driven.take()
    for _ in range(10):
        driven.push("b", 1)
    gone = [driven.take().tenant for _ in range(10)]
    assert gone.count("a") == 5


def test_who_was_served_alone_does_not_pay_for_it() -> None:
    driven = Driven()
    for _ in range(100):
        driven.push("a", 1)
    for _ in range(50):
        driven.take()
    driven.push("b", 1)
    gone = [driven.take().tenant for _ in range(3)]
    assert "b" in gone
    assert "a" in gone


def test_weights_are_shares() -> None:
    driven = Driven()
    for _ in range(400):
        for tenant in WEIGHTS:
            driven.push(tenant, 1)
    gone = [driven.take().tenant for _ in range(550)]
    assert {name: gone.count(name) for name in WEIGHTS} == pytest.approx(
        {"a": 100, "b": 100, "c": 300, "d": 50}, abs=3
    )


def test_a_wrong_estimate_is_paid_back() -> None:
    """One tenant's requests are taken for ten times what they are, and yet it gets its share."""
    driven = Driven()
    for _ in range(300):
        driven.push("a", 10)
        driven.push("b", 1)
    real = {"a": 0.0, "b": 0.0}
    for _ in range(200):
        tenant = driven.take().tenant
        real[tenant] += 1
        if tenant == "a":
            driven.queue.settle("a", 1, -9)
    assert real["a"] == pytest.approx(real["b"], abs=10)


def test_what_is_expected_counts_as_ahead_of_its_tenant_only_as_much_as_is_fair() -> None:
    queue: FairQueue[None] = FairQueue()
    for _ in range(100):
        queue.expect("a", 1, 1)
    assert queue.ahead("a", 1) == pytest.approx(100)
    assert queue.ahead("b", 1) == pytest.approx(0, abs=1)
    for _ in range(100):
        queue.no_longer_expect("a", 1)
    assert queue.ahead("a", 1) == 0


def test_the_fullest_is_told_by_weight() -> None:
    driven = Driven()
    assert driven.queue.fullest() is None
    for _ in range(4):
        driven.push("c", 1)  # has a weight of 3
    driven.push("a", 1)
    last = driven.push("a", 1)
    assert driven.queue.fullest() == "a"
    assert driven.queue.last("a") is last


def test_tenants_that_are_gone_are_forgotten() -> None:
    queue: FairQueue[None] = FairQueue()
    for number in range(10_000):
        tenant = f"tenant {number}"
        entry = queue.push(tenant, 1, 1 + number % 7, None)
        queue.expect(tenant, 1, 0.1)
        if number % 3:
            queue.take(queue.peek())
        else:
            queue.remove(entry)
        queue.no_longer_expect(tenant, 0.1)
        queue.push("always", 1, 1, None)
        queue.take(queue.peek())
    assert queue.tenants < 300
    for _ in range(len(queue)):
        queue.take(queue.peek())
    queue.forget()
    assert queue.tenants == 0
