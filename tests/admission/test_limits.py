"""Requests and tokens a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.admission.counts import Refusal
from silkline.admission.limits import Limits
from silkline.admission.tenant import Tenant
from silkline.stores.memory import PrivateTable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(limits: Limits, tenant: Tenant, tokens: int = 1) -> bool:
    if limits.check(tenant, tokens) is not None:
        return False
    limits.charge(tenant, requests=1, tokens=tokens)
    return True


def test_a_minutes_worth_may_be_spent_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    limits = Limits(clock)
    tenant = Tenant("shop", requests_per_minute=30)
    assert [asked(limits, tenant) for _ in range(31)] == [True] * 30 + [False]
    breach = limits.check(tenant, 1)
    assert breach is not None
    assert (breach.reason, breach.limit) == (Refusal.REQUESTS, 30)
    assert breach.seconds == pytest.approx(2)
    clock.now += breach.seconds
    assert asked(limits, tenant)
    assert not asked(limits, tenant)


def test_one_tenants_limit_is_no_others() -> None:
    limits = Limits(Clock())
    assert asked(limits, Tenant("a", requests_per_minute=1))
    assert not asked(limits, Tenant("a", requests_per_minute=1))
    assert asked(limits, Tenant("b", requests_per_minute=1))
    assert all(asked(limits, Tenant("free")) for _ in range(1000))


def test_tokens_are_settled_by_what_was_used() -> None:
    clock = Clock()
    limits = Limits(clock)
    tenant = Tenant("shop", tokens_per_minute=600)
    assert asked(limits, tenant, tokens=600)
    assert not asked(limits, tenant, tokens=1)
    limits.charge(tenant, requests=0, tokens=-500)
    assert asked(limits, tenant, tokens=500)
    limits.charge(tenant, requests=0, tokens=600)  # twice what was thought: a debt
    breach = limits.check(tenant, 100)
    assert breach is not None
    assert breach.reason is Refusal.TOKENS
    assert breach.seconds == pytest.approx(70)


def test_a_request_larger_than_the_bucket_is_let_in_when_that_is_full() -> None:
    clock = Clock()
    limits = Limits(clock)
    tenant = Tenant("shop", tokens_per_minute=100)
    assert asked(limits, tenant, tokens=250)
    clock.now += 149
    assert not asked(limits, tenant, tokens=250)
    clock.now += 1
    assert asked(limits, tenant, tokens=250)


@given(
    st.integers(1, 50),
    st.lists(st.floats(0, 5) | st.just(0.0), max_size=200),
)
def test_never_more_than_the_bucket_and_what_has_flowed_in(limit: int, gaps: list[float]) -> None:
    clock = Clock()
    limits = Limits(clock)
    tenant = Tenant("shop", requests_per_minute=limit)
    begun, passed = clock.now, 0
    for gap in gaps:
        clock.now += gap
        breach = limits.check(tenant, 1)
        if breach is None:
            limits.charge(tenant, requests=1, tokens=1)
            passed += 1
        else:
            clock.now += breach.seconds
            assert limits.check(tenant, 1) is None  # the wait that is told suffices
            clock.now -= breach.seconds
        assert passed <= limit + (clock.now - begun) * limit / 60 + 1e-6


def test_the_store_is_bounded_and_those_away_longest_go_first() -> None:
    limits = Limits(Clock(), PrivateTable(10))
    tenants = [Tenant(str(number), requests_per_minute=1) for number in range(11)]
    for tenant in tenants:
        assert asked(limits, tenant)
    assert len(limits) == 10
    assert asked(limits, tenants[0])
    assert not asked(limits, tenants[10])
    for _ in range(100):
        limits.charge(Tenant("free"), requests=1, tokens=1)
    assert len(limits) == 10
