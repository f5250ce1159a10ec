"""The tiers together: order, promotion, age, damage, writing behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.entry import Entry, encode_entry
from silkline.cache.memory import MemoryTier
from silkline.cache.redis import RedisTier
from silkline.cache.tiered import TieredCache
from silkline.cache.write_behind import MAX_WAITING_BYTES
from tests.cache.asking import HOUR, KEY, MIB, answer
from tests.cache.redis_server import RedisServer
from tests.engines.asking import eventually


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def written(cache: TieredCache) -> Callable[[], bool]:
    return lambda: all(tier.waiting == 0 for tier in cache.snapshot())


def entry(text: str, stored_at: float) -> bytes:
    value = encode_entry(KEY, Entry(answer(text), stored_at))
    assert value is not None
    return value


@pytest.fixture
async def disk(disk_path: Path) -> AsyncIterator[DiskTier]:
    tier = DiskTier(disk_path, 64 * MIB)
    yield tier
    await tier.aclose()


async def test_an_answer_is_kept_in_every_tier(disk: DiskTier, redis: RedisServer) -> None:
    cache = TieredCache(MemoryTier(MIB), [disk, RedisTier(redis.url)], ttl_seconds=HOUR)
    await cache.put(KEY, answer())
    await eventually(written(cache))
    await asyncio.sleep(0.05)
    assert await cache.get_first(KEY) == answer()
    assert await cache.get_lower(KEY) == answer()
    assert (await disk.get(KEY) or b"").startswith(b"SLK")
    (name,) = redis.admin.keys("silkline:*")
    assert redis.admin.get(name) == await disk.get(KEY)
    await cache.aclose()


async def test_what_a_further_tier_has_comes_nearer(disk: DiskTier, redis: RedisServer) -> None:
    elsewhere = TieredCache(MemoryTier(MIB), [RedisTier(redis.url)], ttl_seconds=HOUR)
    await elsewhere.put(KEY, answer())
    await elsewhere.aclose()
    cache = TieredCache(MemoryTier(MIB), [disk, RedisTier(redis.url)], ttl_seconds=HOUR)
    assert await cache.get_first(KEY) is None
    assert await cache.get_lower(KEY) == answer()
    assert await cache.get_first(KEY) == answer()
    await eventually(written(cache))
    await asyncio.sleep(0.05)
    assert await disk.get(KEY) is not None
    memory, on_disk, in_redis = cache.snapshot()
    assert (memory.name, on_disk.name, in_redis.name) == ("memory", "disk", "redis")
    assert (memory.hits, on_disk.hits, in_redis.hits) == (1, 0, 1)
    assert (memory.misses, on_disk.misses, in_redis.misses) == (1, 1, 0)
    await cache.aclose()


async def test_coming_nearer_makes_nothing_younger(disk: DiskTier) -> None:
    clock = Clock()
    await disk.put(KEY, entry("old", clock.now - 3590), HOUR)
    cache = TieredCache(MemoryTier(MIB, clock=clock), [disk], ttl_seconds=HOUR, clock=clock)
    assert await cache.get_lower(KEY) == answer("old")
    assert await cache.get_first(KEY) == answer("old")
    clock.now += 11
    assert await cache.get_first(KEY) is None
    assert await cache.get_lower(KEY) is None
    memory, on_disk = cache.snapshot()
    assert on_disk.stale == 1
    assert (memory.stale, memory.health.entries) == (0, 0), "memory kept it too long"
    await cache.aclose()


async def test_a_clock_that_is_ahead_elsewhere_does_not_lengthen_a_life(disk: DiskTier) -> None:
    clock = Clock()
    await disk.put(KEY, entry("from the future", clock.now + 10 * HOUR), HOUR)
    cache = TieredCache(MemoryTier(MIB, clock=clock), [disk], ttl_seconds=HOUR, clock=clock)
    assert await cache.get_lower(KEY) is not None
    clock.now += HOUR
    assert await cache.get_first(KEY) is None
    await cache.aclose()


MARKER = "pickled"


class Pickled:
    """What an attacker plants: loading it makes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (MARKER,)


def planted() -> list[bytes]:
    # The one place that pickles: nothing of Silkline may ever load it.
    import pickle  # noqa: PLC0415

    value = entry("good", 1_800_000_000.0)
    pickled = pickle.dumps(Pickled())
    return [
        pickled,
        value[:4] + pickled,
        value[:20] + pickled,
        b"",
        b"\0",
        b"null",
        value[:-1],
        value[: len(value) // 2],
        value[:20],
        value[:3],
        value.replace(b"good", b"evil"),
        b"SLK\x01" + value[4:],
        value + value,
        os.urandom(500),
    ]


async def test_damaged_values_are_misses_in_every_tier(
    tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    near = tier if isinstance(tier, MemoryTier) else MemoryTier(0)
    further = [] if near is tier else [tier]
    cache = TieredCache(near, further, ttl_seconds=HOUR, clock=clock)
    corrupt = 0
    for value in planted():
        await tier.put(KEY, value, HOUR)
        assert await tier.get(KEY) in {value, None}  # Redis has no empty values
        assert await cache.get_first(KEY) is None
        assert await cache.get_lower(KEY) is None
        corrupt += bool(value) or not isinstance(tier, RedisTier)
    assert cache.snapshot()[-1].corrupt == corrupt
    assert not (tmp_path / MARKER).exists()
    await tier.put(KEY, entry("good", clock.now), HOUR)
    found = await cache.get_first(KEY) or await cache.get_lower(KEY)
    assert found == answer("good")
    await cache.aclose()


async def test_a_value_of_another_key_is_a_miss(tier: Tier) -> None:
    near = tier if isinstance(tier, MemoryTier) else MemoryTier(0)
    cache = TieredCache(near, [] if near is tier else [tier], ttl_seconds=HOUR)
    await tier.put(bytes(32), entry("another's", 1e12), HOUR)
    assert await cache.get_first(bytes(32)) is None
    assert await cache.get_lower(bytes(32)) is None
    await cache.aclose()


async def test_putting_does_not_wait_for_a_frozen_tier(own_redis: RedisServer) -> None:
    cache = TieredCache(MemoryTier(64 * MIB), [RedisTier(own_redis.url)], ttl_seconds=HOUR)
    await cache.put(KEY, answer())
    await eventually(written(cache))
    own_redis.freeze()
    loop = asyncio.get_running_loop()
    started = loop.time()
    long = answer("x" * 500_000)
    puts = 2 * MAX_WAITING_BYTES // 500_000
    for number in range(puts):
        await cache.put(number.to_bytes(32), long)
    assert loop.time() - started < 1.0
    snapshot = cache.snapshot()[1]
    assert snapshot.dropped > 0
    assert snapshot.dropped + snapshot.waiting <= puts
    await cache.aclose()


async def test_closing_writes_what_still_waits(disk_path: Path) -> None:
    cache = TieredCache(MemoryTier(MIB), [DiskTier(disk_path, 64 * MIB)], ttl_seconds=HOUR)
    for number in range(100):
        await cache.put(number.to_bytes(32), answer(str(number)))
    assert cache.snapshot()[1].waiting > 50
    await cache.aclose()
    again = TieredCache(MemoryTier(MIB), [DiskTier(disk_path, 64 * MIB)], ttl_seconds=HOUR)
    for number in range(100):
        assert await again.get_lower(number.to_bytes(32)) == answer(str(number))
    await again.aclose()


async def test_without_time_nothing_is_kept(disk: DiskTier) -> None:
    cache = TieredCache(MemoryTier(MIB), [disk], ttl_seconds=0)
    await cache.put(KEY, answer())
    assert await cache.get_first(KEY) is None
    assert await cache.get_lower(KEY) is None
    await cache.aclose()
