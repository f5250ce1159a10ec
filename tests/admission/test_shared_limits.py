"""Gateways that share the rate limits of tenants through a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from silkline.admission.limits import Limits
from silkline.admission.shared_limits import shared_limits
from silkline.admission.tenant import Tenant
from silkline.errors import ConfigError
from tests.cache.redis_server import RedisServer

# So slow that a bucket gains nothing while a test runs.
TENANT = Tenant("shop", requests_per_minute=40, tokens_per_minute=4000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.close()


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    server.admin.flushall()
    return server


@asynccontextmanager
async def gateways(count: int, redis: RedisServer) -> AsyncIterator[list[Limits]]:
    async with AsyncExitStack() as stack:
        made = [Limits(time.monotonic) for _ in range(count)]
        for each in made:
            await stack.enter_async_context(shared_limits(redis.url, each))
        yield made


def asked(limits: Limits, tokens: int = 1) -> bool:
    if limits.check(TENANT, tokens) is not None:
        return False
    limits.charge(TENANT, requests=1, tokens=tokens)
    return True


async def settled(what: Limits, *, refuses: bool) -> None:
    """Waits until a gateway knows what the others charged; it asks as requests would."""
    for _ in range(2000):
        if (what.check(TENANT, 1) is not None) is refuses:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the gateway learned nothing")


async def test_what_one_gateway_admits_another_one_counts(redis: RedisServer) -> None:
    async with gateways(2, redis) as (first, second):
        assert all(asked(first) for _ in range(40))
        await settled(second, refuses=True)


async def test_a_limit_is_shared_by_all_gateways(redis: RedisServer) -> None:
    admitted = 0
    async with gateways(3, redis) as made:
        for number in range(90):
            admitted += asked(made[number % 3])
            await asyncio.sleep(0.01)
    # A second gives less than one request back; two gateways may not yet know of the last one.
    assert 40 <= admitted <= 46


async def test_tokens_are_shared_and_refunded(redis: RedisServer) -> None:
    async with gateways(2, redis) as (first, second):
        assert asked(first, tokens=4000)
        await settled(second, refuses=True)
        first.charge(TENANT, requests=-1, tokens=-4000)
        await settled(second, refuses=False)


async def test_a_gateway_that_starts_again_learns_what_was_charged(redis: RedisServer) -> None:
    async with gateways(1, redis) as (first,):
        assert all(asked(first) for _ in range(40))
    async with gateways(1, redis) as (again,):
        await settled(again, refuses=True)


async def test_without_redis_each_gateway_enforces_the_limit_alone(redis: RedisServer) -> None:
    redis.freeze()
    try:
        async with gateways(2, redis) as made:
            for each in made:
                assert sum(asked(each) for _ in range(60)) == 40
                await asyncio.sleep(0.2)
                assert not asked(each)
    finally:
        redis.thaw()


async def test_keys_expire_when_the_bucket_is_full(redis: RedisServer) -> None:
    async with gateways(1, redis) as (first,):
        assert asked(first)
    (key,) = redis.admin.keys("silkline:limits:*73686f70")
    assert 0 < redis.admin.pttl(key) <= 1000 + 60_000 / 40


async def test_a_wrong_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="Redis URL is invalid"):
        async with shared_limits("http://h", Limits(time.monotonic)):
            pass
