"""Cancelled requests and their connections: no reply may reach another request.

CVE-2023-28858 and CVE-2023-28859: a client library left the connection of a cancelled command in
use, and each later command read the reply of the one before it.
"""

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection

from tests.cache.asking import HOUR
from tests.cache.redis_server import RedisServer, connected
from tests.campaign.fault_proxy import Toxics, fault_proxy

KEYS = 500


def key(number: int) -> bytes:
    return number.to_bytes(32)


async def read_and_leave(
    read: Any, requests: int, dice: random.Random, *, longest_stay: float
) -> tuple[int, int, int]:
    """Reads unique values, most of the readers being cancelled somewhere on the way.

    Returns:
        How many got their own value, somebody else's, and were cancelled.
    """
    own = foreign = cancelled = 0

    async def one(number: int) -> None:
        nonlocal own, foreign
        value = await read(number)
        own += value == b"%d" % number
        foreign += value is not None and value != b"%d" % number

    async def leaving(number: int) -> None:
        nonlocal cancelled
        task = asyncio.create_task(one(number % KEYS))
        if dice.random() < 0.8:
            if dice.random() < 0.5:
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(dice.random() * longest_stay)
            cancelled += task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    for start in range(0, requests, 50):
        await asyncio.gather(*(leaving(number) for number in range(start, start + 50)))
    return own, foreign, cancelled


async def fill(url: str) -> None:
    async with connected(url) as tier:
        for number in range(KEYS):
            await tier.put(key(number), b"%d" % number, HOUR)


@pytest.mark.parametrize("requests", [3000, pytest.param(20_000, marks=pytest.mark.full)])
async def test_no_reply_reaches_another_request(redis: RedisServer, requests: int) -> None:
    await fill(redis.url)
    async with connected(redis.url) as tier:
        dice = random.Random(28858)
        own, foreign, cancelled = await read_and_leave(
            lambda number: tier.get(key(number)), requests, dice, longest_stay=0.003
        )
        assert foreign == 0
        assert cancelled > requests / 10
        assert own > requests / 10
        assert not tier.health().degraded


async def test_not_even_with_a_library_that_keeps_the_connection(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library of March 2023, made again: the tier does not depend on its repair."""
    read_response = Connection.read_response

    async def careless(self: Connection, *args: Any, **options: Any) -> Any:
        return await read_response(self, *args, **{**options, "disconnect_on_error": False})

    monkeypatch.setattr(Connection, "read_response", careless)
    await fill(redis.url)
    async with fault_proxy(redis.port) as proxy:
        proxy.up = proxy.down = Toxics(latency_seconds=0.004)
        dice = random.Random(28859)
        async with Redis(port=proxy.port, single_connection_client=True) as plain:
            for number in range(KEYS):
                redis.admin.set(f"plain {number}", b"%d" % number)
            _, foreign, _ = await read_and_leave(
                lambda number: plain.get(f"plain {number}"), 200, dice, longest_stay=0.02
            )
            assert foreign > 0, "the library's defect was not made again"
        async with connected(f"redis://127.0.0.1:{proxy.port}") as tier:
            own, foreign, cancelled = await read_and_leave(
                lambda number: tier.get(key(number)), 1000, dice, longest_stay=0.02
            )
            assert foreign == 0
            assert min(own, cancelled) > 100
