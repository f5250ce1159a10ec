"""Replicas for a P99: Erlang's formula against textbook values and a simulation."""

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.plan.fleet import p99, replicas_for, waiting_share
from silkline.plan.roofline import Timing


def timing(batch: int, latency: float) -> Timing:
    return Timing(batch, latency / 2, latency / 100, batch / latency, latency)


@pytest.mark.parametrize(
    ("slots", "load", "share"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.4092), (100, 90.0, 0.2170)],
)
def test_the_share_that_waits_is_erlangs(slots: int, load: float, share: float) -> None:
    assert waiting_share(slots, load) == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize(("batch", "replicas", "used"), [(1, 3, 0.7), (4, 2, 0.8), (16, 1, 0.6)])
def test_a_simulated_queue_is_as_slow_as_predicted(batch: int, replicas: int, used: float) -> None:
    """Exponential times of service, which the formula is exact for."""
    one, draws = timing(batch, 1.0), random.Random(7)
    rate = used * replicas * one.rate
    free = [0.0] * (batch * replicas)
    waits, now = [], 0.0
    for _ in range(200_000):
        now += draws.expovariate(rate)
        begin = max(now, heapq.heappop(free))
        heapq.heappush(free, begin + draws.expovariate(1.0))
        waits.append(begin - now)
    waits.sort()
    found = 1.0 + waits[int(0.99 * len(waits))]
    assert p99(one, replicas, rate) == pytest.approx(found, rel=0.1)


@given(st.integers(1, 64), st.floats(0.01, 2.0), st.floats(0.1, 5000), st.floats(0.05, 4.0))
def test_the_replicas_keep_the_slo_and_fewer_do_not(
    batch: int, latency: float, rate: float, slo: float
) -> None:
    one = timing(batch, latency)
    found = replicas_for(one, rate, slo, 0.75)
    if latency > slo:
        assert found is None
        return
    if found is None:
        return
    assert p99(one, found, rate) <= slo
    assert rate <= 0.75 * found * one.rate * (1 + 1e-9)
    fewer = found - 1
    assert not fewer or p99(one, fewer, rate) > slo or rate > 0.75 * fewer * one.rate


def test_too_few_replicas_have_no_p99() -> None:
    assert p99(timing(4, 1.0), 1, 4.0) == math.inf
