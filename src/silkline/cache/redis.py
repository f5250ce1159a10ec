"""The Redis tier: a Redis server that all gateways share.

Reads and writes each have their own connection (see `silkline.stores.redis_lane`) and circuit
breaker: a server that is full or read-only can still be read. The content of Redis is not trusted:
at most `MAX_ENTRY_BYTES` of a value are read, and the reader of the value checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from silkline.cache.base import Tier, TierHealth
from silkline.cache.entry import MAX_ENTRY_BYTES
from silkline.stores.redis import open_link, redis_faults
from silkline.stores.redis_lane import Lane

PREFIX = "silkline:answer:"
"""The prefix of all Redis keys; the cache key in hex follows."""

TIMEOUT_SECONDS = 0.04
"""Maximum time that a request waits for Redis."""

_PROBE = f"{PREFIX}probe"
_MILLISECONDS = 1000


class _Value(NamedTuple):
    key: bytes
    value: bytes
    ttl_seconds: float


class RedisTier(Tier):
    """Values in a Redis server, given by its address or by its Sentinels."""

    name = "redis"

    def __init__(self, url: str) -> None:
        """Checks the URL; the first operation connects.

        Raises:
            ConfigError: The URL is wrong.
            EnvironmentFault: The `redis` library is not installed.
        """
        self._for_reading = open_link(url)
        self._for_writing = open_link(url)
        faults = redis_faults()
        self._reads = Lane[bytes, bytes | None](
            "redis, reading",
            self._read,
            self._probe_reading,
            faults=faults,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        self._writes = Lane[_Value, None](
            "redis, writing",
            self._write,
            self._probe_writing,
            faults=faults,
            timeout_seconds=TIMEOUT_SECONDS,
        )

    async def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none, or Redis does not answer in time."""
        return await self._reads.do(key)

    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value for at most `ttl_seconds`, by the server's clock."""
        if ttl_seconds * _MILLISECONDS >= 1:
            await self._writes.do(_Value(key, value, ttl_seconds))

    def health(self) -> TierHealth:
        """The tier's status, without entries and bytes, which only the server knows."""
        breakers = (self._reads.breaker, self._writes.breaker)
        return TierHealth(
            degraded=any(breaker.degraded for breaker in breakers),
            errors=sum(breaker.errors for breaker in breakers),
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        for lane in (self._reads, self._writes):
            await lane.aclose()
        for link in (self._for_reading, self._for_writing):
            await link.aclose()

    async def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        commands = self._for_reading.client.pipeline(transaction=False)
        for key in keys:
            commands.getrange(_name(key), 0, MAX_ENTRY_BYTES - 1)
        results = await commands.execute(raise_on_error=False)
        failures = _failures(results)
        if len(failures) == len(results):
            raise failures[0]
        # One value of a wrong type fails only its own command; if all fail, it is the server.
        return [result if isinstance(result, bytes) and result else None for result in results]

    async def _write(self, values: Sequence[_Value]) -> list[None]:
        commands = self._for_writing.client.pipeline(transaction=False)
        for key, value, ttl_seconds in values:
            commands.set(_name(key), value, px=int(ttl_seconds * _MILLISECONDS))
        failures = _failures(await commands.execute(raise_on_error=False))
        if failures:
            raise failures[0]
        return [None] * len(values)

    async def _probe_reading(self) -> None:
        await self._for_reading.client.getrange(_PROBE, 0, 0)

    async def _probe_writing(self) -> None:
        await self._for_writing.client.set(_PROBE, b"", px=_MILLISECONDS)


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _failures(results: Sequence[Any]) -> list[Exception]:
    return [result for result in results if isinstance(result, Exception)]
