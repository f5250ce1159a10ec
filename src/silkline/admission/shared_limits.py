"""Shares the rate limits of tenants between gateways, through Redis.

No request waits for Redis. A gateway checks and charges its own buckets. Every `EXCHANGE_SECONDS`
it sends what it charged, and sets its buckets to what all gateways charged together. So the charges
are exact; what others admit within that time may be admitted too much, and later requests pay for
it. While Redis does not answer, each gateway enforces the limits alone, and what it charges
meanwhile is not shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from silkline.admission.limits import Limits
from silkline.stores.redis import open_link, redis_faults
from silkline.stores.redis_lane import Lane

PREFIX = "silkline:limits:"
EXCHANGE_SECONDS = 0.05
TIMEOUT_SECONDS = 0.5
"""Maximum time of an exchange; later, what it sent may be charged or not."""

_PROBE = f"{PREFIX}probe"

# A bucket is stored as the time at which it will be full again, by the server's clock. The result
# is the time that is left until then.
_CHARGE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local left, longest = {}, 0
for bucket = 1, 2 do
  local full = math.max(tonumber(redis.call('HGET', KEYS[1], bucket)) or 0, now) + ARGV[bucket]
  redis.call('HSET', KEYS[1], bucket, string.format('%.6f', full))
  left[bucket] = string.format('%.6f', full - now)
  longest = math.max(longest, full - now)
end
redis.call('PEXPIRE', KEYS[1], math.ceil(longest * 1000) + 1000)
return left
"""


class _Charge(NamedTuple):
    tenant: bytes
    seconds: tuple[float, float]


_Left = tuple[float, float]


@asynccontextmanager
async def shared_limits(url: str, limits: Limits) -> AsyncIterator[None]:
    """Shares the buckets with the gateways of the same Redis during the block.

    Args:
        url: Redis' URL; empty shares them with no one.
        limits: The buckets.

    Raises:
        ConfigError: The URL is invalid.
        EnvironmentFault: The `redis` library is not installed.
    """
    if not url:
        yield
        return
    link = open_link(url)

    async def charged(jobs: Sequence[_Charge]) -> list[_Left]:
        commands = link.client.pipeline(transaction=False)
        for job in jobs:
            commands.eval(_CHARGE, 1, PREFIX + job.tenant.hex(), *map(repr, job.seconds))
        return [(float(left[0]), float(left[1])) for left in await commands.execute()]

    async def probe() -> None:
        await link.client.set(_PROBE, b"", px=1000)

    lane = Lane[_Charge, _Left](
        "redis, rate limits",
        charged,
        probe,
        faults=redis_faults(),
        timeout_seconds=TIMEOUT_SECONDS,
    )
    limits.share()
    task = asyncio.create_task(_exchange(lane, limits), name="rate limits")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _send(lane, limits)
        await lane.aclose()
        await link.aclose()


async def _exchange(lane: Lane[_Charge, _Left], limits: Limits) -> None:
    while True:
        await asyncio.sleep(EXCHANGE_SECONDS)
        await _send(lane, limits)


async def _send(lane: Lane[_Charge, _Left], limits: Limits) -> None:
    async def send(charge: _Charge) -> None:
        left = await lane.do(charge)
        if left is not None:
            limits.correct(charge.tenant, *left)

    charges = [_Charge(tenant, seconds) for tenant, seconds in limits.uncounted().items()]
    await asyncio.gather(*map(send, charges))
