"""What every tier promises, held by each of the real ones."""

import asyncio

import pytest

from silkline.cache.base import Tier
from tests.cache.asking import HOUR, KEY


def key(number: int) -> bytes:
    return number.to_bytes(32)


async def test_what_is_put_is_got(tier: Tier) -> None:
    assert await tier.get(KEY) is None
    await tier.put(KEY, b"first", HOUR)
    assert await tier.get(KEY) == b"first"
    await tier.put(KEY, b"second\0\xff", HOUR)
    assert await tier.get(KEY) == b"second\0\xff"
    assert await tier.get(bytes(32)) is None
    health = tier.health()
    assert not health.degraded
    assert health.errors == 0


async def test_values_expire(tier: Tier) -> None:
    await tier.put(KEY, b"value", 0.1)
    await tier.put(bytes(32), b"lasting", HOUR)
    assert await tier.get(KEY) == b"value"
    await asyncio.sleep(0.15)
    assert await tier.get(KEY) is None
    assert await tier.get(bytes(32)) == b"lasting"


@pytest.mark.parametrize("ttl_seconds", [0.0, -1.0])
async def test_a_value_without_time_is_not_kept(tier: Tier, ttl_seconds: float) -> None:
    await tier.put(KEY, b"value", ttl_seconds)
    assert await tier.get(KEY) is None
    assert tier.health().errors == 0


async def test_many_at_once_do_not_mix(tier: Tier) -> None:
    numbers = range(200)
    await asyncio.gather(*(tier.put(key(n), b"%d" % n, HOUR) for n in numbers))
    values = await asyncio.gather(*(tier.get(key(n)) for n in numbers))
    assert values == [b"%d" % n for n in numbers]


async def test_being_cancelled_harms_nobody(tier: Tier) -> None:
    await tier.put(KEY, b"value", HOUR)
    for delay in range(20):
        task = asyncio.create_task(tier.get(KEY))
        for _ in range(delay % 4):
            await asyncio.sleep(0)
        task.cancel()
        assert await tier.get(KEY) == b"value"
    assert tier.health().errors == 0


async def test_it_closes_twice_and_is_a_miss_then(tier: Tier) -> None:
    await tier.put(KEY, b"value", HOUR)
    await tier.aclose()
    await tier.aclose()
    assert await tier.get(KEY) is None
    await tier.put(KEY, b"value", HOUR)
