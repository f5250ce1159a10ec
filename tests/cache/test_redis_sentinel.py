"""A failover by a real Sentinel: misses for a moment, then the new master."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cache.asking import HOUR
from tests.cache.redis_server import RedisServer, connected
from tests.engines.asking import eventually

FAILOVER_SECONDS = 10.0


@dataclass
class Watched:
    master: RedisServer
    replica: RedisServer
    sentinel: RedisServer


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        master = stack.enter_context(
            closing(RedisServer(tmp_path, "--repl-diskless-sync-delay", "0"))
        )
        replica = stack.enter_context(
            closing(RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(master.port)))
        )
        limit = time.monotonic() + 10
        while replica.admin.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < limit
            time.sleep(0.05)
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds shop 300\n"
            "sentinel failover-timeout shop 3000\n"
        )
        sentinel = stack.enter_context(closing(RedisServer(tmp_path, str(config), "--sentinel")))
        while not sentinel.admin.sentinel_slaves("shop"):
            assert time.monotonic() < limit
            time.sleep(0.05)
        yield Watched(master, replica, sentinel)


@pytest.mark.slow
async def test_writes_go_on_after_a_failover(watched: Watched) -> None:
    url = f"redis+sentinel://127.0.0.1:{watched.sentinel.port}/shop"
    async with connected(url) as tier:
        await tier.put(bytes(32), b"before", HOUR)
        assert await tier.get(bytes(32)) == b"before"
        await eventually(lambda: watched.replica.admin.dbsize() == 1)
        watched.master.kill()
        slowest, started, number = 0.0, time.monotonic(), 0
        while True:
            number += 1
            key, value = number.to_bytes(32), b"%d" % number
            asked = time.monotonic()
            await tier.put(key, value, HOUR)
            slowest = max(slowest, time.monotonic() - asked)
            if await tier.get(key) == value:
                break
            assert time.monotonic() - started < FAILOVER_SECONDS, "writes did not resume"
            await asyncio.sleep(0.02)
        assert slowest < 2
        assert await tier.get(bytes(32)) == b"before"
        assert watched.replica.admin.role()[0] == b"master"
