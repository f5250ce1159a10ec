"""Stores keys in Redis: for gateways on several machines.

Each operation is one script, which Redis runs atomically: no other gateway can act between the
lookup of a key and its claim. Claims expire by the server's clock. The server should not evict keys
(`maxmemory-policy noeviction`, or `volatile-ttl` with room to spare): an evicted key is free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from silkline.idempotency.base import (
    DIGEST_BYTES,
    MAX_ANSWER_BYTES,
    Claim,
    Found,
    KeyStore,
    store_unavailable,
)
from silkline.stores.redis import open_link, redis_faults
from silkline.stores.redis_lane import Lane

PREFIX = "silkline:idempotency:"
TIMEOUT_SECONDS = 0.5
"""Maximum time that a request waits for Redis."""

RETRY_SECONDS = 0.5
"""Interval between attempts to release a claim that timed out."""

_PROBE = f"{PREFIX}probe"
_MILLISECONDS = 1000
_IN_PROGRESS = b"\0"
_FINISHED = b"\1"
_MAX_BYTES = 1 + DIGEST_BYTES + MAX_ANSWER_BYTES

# A value is one byte for its kind, then the fingerprint, then the owner or the answer.
# A value that Silkline did not write is deleted.
_CLAIM = f"""
local size = redis.call('STRLEN', KEYS[1])
local kind = string.byte(redis.call('GETRANGE', KEYS[1], 0, 0)) or 0
if size <= {DIGEST_BYTES} or size > {_MAX_BYTES} or kind > 1 then redis.call('DEL', KEYS[1]) end
local found = redis.call('GET', KEYS[1])
if found then return found end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
"""
# A value that is not a string has no owner: `pcall` returns the error as a value, which differs.
_REPLACE = """
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_RELEASE = """
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_FORGET = """
if redis.pcall('GETRANGE', KEYS[1], 0, 0) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class _Job(NamedTuple):
    script: str
    key: bytes
    arguments: tuple[bytes | int, ...] = ()


class RedisKeys(KeyStore):
    """Stores keys in a Redis server, found by its address or through Sentinels."""

    def __init__(self, url: str) -> None:
        """Sets the server; the first use connects.

        Raises:
            ConfigError: The URL is invalid.
            EnvironmentFault: The `redis` library is not installed.
        """
        self._link = open_link(url)
        self._lane = Lane[_Job, Any](
            "redis, idempotency keys",
            self._work,
            self._probe,
            faults=redis_faults(),
            timeout_seconds=TIMEOUT_SECONDS,
        )
        self._freeing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """See `KeyStore`."""
        sent = not self._lane.breaker.open
        try:
            found = await self._execute(
                _Job(_CLAIM, key, (_claim_value(claim), _milliseconds(lease_seconds)))
            )
        except BaseException:
            if sent and not self._closed:  # Redis may have received it, or may still
                task = asyncio.create_task(self._free(key, claim))
                self._freeing.add(task)
                task.add_done_callback(self._freeing.discard)
            raise
        if not isinstance(found, bytes):
            raise store_unavailable()
        if not found:
            return None
        fingerprint, rest = found[1 : 1 + DIGEST_BYTES], found[1 + DIGEST_BYTES :]
        return Found(fingerprint, rest if found[:1] == _FINISHED else None)

    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """See `KeyStore`."""
        value = _claim_value(claim)
        return (
            await self._execute(_Job(_REPLACE, key, (value, value, _milliseconds(lease_seconds))))
            == 1
        )

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        value = _FINISHED + claim.fingerprint + answer
        job = _Job(_REPLACE, key, (_claim_value(claim), value, _milliseconds(ttl_seconds)))
        return await self._execute(job) == 1

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        await self._execute(_release_job(key, claim))

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        await self._execute(_Job(_FORGET, key, (_FINISHED,)))

    async def aclose(self) -> None:
        """Closes the connection; claims not yet released expire with their lease; idempotent."""
        self._closed = True
        for task in self._freeing:
            task.cancel()
        await asyncio.gather(*self._freeing, return_exceptions=True)
        await self._lane.aclose()
        await self._link.aclose()

    async def _execute(self, job: _Job) -> object:
        result = await self._lane.do(job)
        if result is None:
            raise store_unavailable()
        return result

    async def _free(self, key: bytes, claim: Claim) -> None:
        """Releases a claim that timed out or was cancelled, as soon as Redis is available."""
        while True:
            if await self._lane.do(_release_job(key, claim)) is not None:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _work(self, jobs: Sequence[_Job]) -> Sequence[object]:
        commands = self._link.client.pipeline(transaction=False)
        for job in jobs:
            commands.eval(job.script, 1, PREFIX + job.key.hex(), *job.arguments)
        results = await commands.execute(raise_on_error=False)
        failures = [result for result in results if isinstance(result, Exception)]
        if len(failures) == len(results):
            raise failures[0]
        # A value of a wrong type fails one command; if all commands fail, the server is at fault.
        return [None if isinstance(result, Exception) else result for result in results]

    async def _probe(self) -> None:
        await self._link.client.set(_PROBE, b"", px=_MILLISECONDS)


def _release_job(key: bytes, claim: Claim) -> _Job:
    return _Job(_RELEASE, key, (_claim_value(claim),))


def _claim_value(claim: Claim) -> bytes:
    return _IN_PROGRESS + claim.fingerprint + claim.owner


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * _MILLISECONDS))
