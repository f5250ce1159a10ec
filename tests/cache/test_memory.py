"""The memory tier: bounded, and good at traffic that repeats itself."""

import bisect
import itertools
import random
import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryTier
from tests.cache.asking import HOUR, KEY, MIB

VALUE_BYTES = 650
ENTRY_BYTES = VALUE_BYTES + ENTRY_OVERHEAD_BYTES


def key(number: int) -> bytes:
    return number.to_bytes(32)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shop_traffic(
    requests: int, *, products: int = 100_000, new_share: float = 0.02, drift: int = 0
) -> list[int]:
    """Zipf(1.0) over a catalogue, with a share of pictures that are seen once.

    With a `drift`, what is popular moves on by that many products ten times in the trace.
    """
    dice = random.Random(7)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, products + 1)))
    fresh = itertools.count(products)
    trace = []
    for place in range(requests):
        if dice.random() < new_share:
            trace.append(next(fresh))
        else:
            rank = bisect.bisect_left(weights, dice.random() * weights[-1])
            trace.append((rank + place * 10 // requests * drift) % products)
    return trace


class Lru:
    """What S3-FIFO is compared with."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: OrderedDict[int, None] = OrderedDict()

    def hit(self, number: int) -> bool:
        known = number in self._known
        self._known[number] = None
        self._known.move_to_end(number)
        if len(self._known) > self._entries:
            self._known.popitem(last=False)
        return known


async def hit_rates(trace: list[int], entries: int) -> tuple[float, float]:
    """Of the memory tier and of LRU, over the part of the trace after they have filled."""
    tier = MemoryTier(entries * ENTRY_BYTES)
    lru = Lru(entries)
    value = bytes(VALUE_BYTES)
    start = len(trace) // 5
    ours = theirs = 0
    for place, number in enumerate(trace):
        hit = await tier.get(key(number)) is not None
        if not hit:
            await tier.put(key(number), value, HOUR)
        ours += hit and place >= start
        theirs += lru.hit(number) and place >= start
    return ours / (len(trace) - start), theirs / (len(trace) - start)


async def test_it_keeps_what_is_asked_for_again() -> None:
    ours, lru = await hit_rates(shop_traffic(60_000), entries=1000)
    assert ours > lru + 0.06
    assert ours > 0.54


@pytest.mark.full
@pytest.mark.parametrize(
    ("entries", "drift", "least", "more_than_lru"),
    [
        (1000, 0, 0.57, 0.07),
        (5000, 0, 0.69, 0.05),
        (10_000, 0, 0.74, 0.03),
        (40_000, 0, 0.84, -0.005),
        (1000, 2000, 0.52, 0.03),
        (5000, 2000, 0.60, -0.03),
        (10_000, 2000, 0.65, -0.035),
        (40_000, 2000, 0.79, -0.015),
    ],
)
async def test_hit_rates_over_long_traces(
    entries: int, drift: int, least: float, more_than_lru: float
) -> None:
    ours, lru = await hit_rates(shop_traffic(300_000, drift=drift), entries)
    assert ours >= least
    assert ours >= lru + more_than_lru


async def test_a_scan_does_not_flush_what_is_used() -> None:
    tier = MemoryTier(100 * ENTRY_BYTES)
    value = bytes(VALUE_BYTES)
    for number in range(50):
        await tier.put(key(number), value, HOUR)
        await tier.get(key(number))
    for number in range(1000, 3000):
        await tier.put(key(number), value, HOUR)
    kept = [number for number in range(50) if await tier.get(key(number))]
    assert len(kept) == 50


async def test_a_value_that_comes_back_soon_stays() -> None:
    tier = MemoryTier(100 * ENTRY_BYTES)
    value = bytes(VALUE_BYTES)
    for number in range(150):
        await tier.put(key(number), value, HOUR)
    assert await tier.get(key(40)) is None
    await tier.put(key(40), value, HOUR)
    for number in range(1000, 1150):
        await tier.put(key(number), value, HOUR)
    assert await tier.get(key(40)) == value


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),  # key
            st.integers(0, 3000),  # bytes
            st.floats(0.5, 20),  # time to live
            st.booleans(),  # read another
            st.integers(0, 30),
        ),
        max_size=200,
    )
)
async def test_it_is_never_larger_than_it_may_be(
    uses: list[tuple[int, int, float, bool, int]],
) -> None:
    clock = Clock()
    tier = MemoryTier(20_000, clock=clock)
    for number, size, ttl, read, other in uses:
        clock.now += 1
        value = bytes([number]) * size
        await tier.put(key(number), value, ttl)
        got = await tier.get(key(number))
        assert got in {None, value}
        assert (got is None) == (size + ENTRY_OVERHEAD_BYTES > 2000)
        if read and (found := await tier.get(key(other))) is not None:
            assert found == bytes([other]) * len(found)
        assert (tier.health().bytes or 0) <= 20_000


async def test_the_bound_is_real_memory() -> None:
    tier = MemoryTier(4 * MIB)
    tracemalloc.start()
    try:
        for number in range(15_000):
            await tier.put(key(number), number.to_bytes(VALUE_BYTES), HOUR)
            await tier.get(key(number // 2))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 4.2 * MIB
    assert tier.health().evictions > 10_000


async def test_an_expired_value_gives_its_room_back() -> None:
    clock = Clock()
    tier = MemoryTier(MIB, clock=clock)
    await tier.put(KEY, b"value", 10)
    clock.now += 9.9
    assert await tier.get(KEY) == b"value"
    clock.now += 0.1
    assert await tier.get(KEY) is None
    health = tier.health()
    assert (health.entries, health.bytes, health.evictions) == (0, 0, 0)


async def test_a_value_that_is_put_again_lives_again() -> None:
    clock = Clock()
    tier = MemoryTier(MIB, clock=clock)
    await tier.put(KEY, b"old value", 10)
    clock.now += 9
    await tier.put(KEY, b"value", 10)
    clock.now += 9
    assert await tier.get(KEY) == b"value"
    assert tier.health().bytes == len(b"value") + ENTRY_OVERHEAD_BYTES


async def test_without_room_nothing_is_kept() -> None:
    tier = MemoryTier(0)
    await tier.put(KEY, b"value", HOUR)
    assert await tier.get(KEY) is None
    assert tier.health().bytes == 0
