"""The Redis tier over a real server, and over servers that fail."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from silkline.aio import breaker as breaker_module
from silkline.cache.entry import MAX_ENTRY_BYTES
from silkline.cache.redis import PREFIX, TIMEOUT_SECONDS, RedisTier
from silkline.errors import ConfigError
from tests.cache.asking import HOUR, KEY
from tests.cache.redis_server import RedisServer, connected, free_port
from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy

RECOVERY_SECONDS = 5.0


@pytest.fixture
async def tier(own_redis: RedisServer) -> AsyncIterator[RedisTier]:
    async with connected(own_redis.url) as made:
        await recovered(made, value=b"value")
        yield made


async def recovered(tier: RedisTier, *, value: bytes = b"again") -> None:
    """Writes and reads until both work."""
    limit = time.monotonic() + RECOVERY_SECONDS
    while True:
        await tier.put(KEY, value, HOUR)
        if await tier.get(KEY) == value and not tier.health().degraded:
            return
        assert time.monotonic() < limit, "it did not recover"
        await asyncio.sleep(0.02)


async def latencies(tier: RedisTier, reads: int, *, pause: float = 0.002) -> list[float]:
    """Seconds that each of some reads takes, a few at a time."""
    taken: list[float] = []

    async def one() -> None:
        started = time.monotonic()
        await tier.get(KEY)
        taken.append(time.monotonic() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(reads):
            group.create_task(one())
            await asyncio.sleep(pause)
    return taken


def costs_little(taken: list[float]) -> bool:
    """Whether most requests waited for nothing, and none for long."""
    return statistics.quantiles(taken, n=10)[7] < TIMEOUT_SECONDS / 2 and max(taken) < 1


async def test_values_lie_in_redis_with_their_time(redis: RedisServer) -> None:
    async with connected(redis.url) as tier:
        await tier.put(KEY, b"value", 100.0)
        name = PREFIX + KEY.hex()
        assert redis.admin.get(name) == b"value"
        assert 99_000 < redis.admin.pttl(name) <= 100_000


async def test_two_gateways_share_it(redis: RedisServer) -> None:
    async with connected(redis.url) as one, connected(redis.url + "/0") as other:
        await one.put(KEY, b"value", HOUR)
        assert await other.get(KEY) == b"value"
        await one.aclose()
        assert await other.get(KEY) == b"value"


async def test_it_needs_two_connections_however_many_ask(redis: RedisServer) -> None:
    before = redis.admin.info()["total_connections_received"]
    async with connected(redis.url) as tier:
        await asyncio.gather(*(tier.put(n.to_bytes(32), b"value", HOUR) for n in range(500)))
        values = await asyncio.gather(*(tier.get(n.to_bytes(32)) for n in range(500)))
        assert b"value" in values
        assert redis.admin.info()["total_connections_received"] - before == 2


async def test_strange_values_harm_only_themselves(redis: RedisServer) -> None:
    strange, long = bytes(32), bytes([1] * 32)
    redis.admin.rpush(PREFIX + strange.hex(), "a", "list")
    redis.admin.set(PREFIX + long.hex(), b"x" * (MAX_ENTRY_BYTES + 100))
    async with connected(redis.url) as tier:
        await tier.put(KEY, b"value", HOUR)
        values = await asyncio.gather(*(tier.get(key) for key in (strange, KEY, long)))
        assert values[:2] == [None, b"value"]
        assert len(values[2] or b"") == MAX_ENTRY_BYTES
        assert not tier.health().degraded


async def test_a_killed_server_is_a_miss_and_comes_back(
    tier: RedisTier, own_redis: RedisServer
) -> None:
    own_redis.kill()
    taken = await latencies(tier, 300)
    assert tier.health().degraded
    assert costs_little(taken)
    assert await tier.get(KEY) is None
    await tier.put(KEY, b"value", HOUR)
    own_redis.start()
    await recovered(tier)


async def test_a_frozen_server_costs_a_few_requests_a_little(
    tier: RedisTier, own_redis: RedisServer
) -> None:
    own_redis.freeze()
    assert max(await latencies(tier, 200)) < 1
    assert tier.health().degraded
    assert costs_little(await latencies(tier, 200))
    own_redis.thaw()
    await recovered(tier)


@asynccontextmanager
async def behind_proxy(server: RedisServer) -> AsyncIterator[tuple[RedisTier, FaultProxy]]:
    """A tier that works, over a server behind a proxy."""
    async with (
        fault_proxy(server.port) as proxy,
        connected(f"redis://127.0.0.1:{proxy.port}") as tier,
    ):
        await recovered(tier, value=b"value")
        yield tier, proxy


async def test_connections_that_are_reset_cost_a_few_misses(own_redis: RedisServer) -> None:
    async with behind_proxy(own_redis) as (tier, proxy):
        for _ in range(20):
            reading = asyncio.create_task(latencies(tier, 20))
            await asyncio.sleep(0.01)
            proxy.reset_all()
            assert max(await reading) < 1
        assert tier.health().errors > 0
        await recovered(tier)


async def break_it(how: str, server: RedisServer, proxy: FaultProxy) -> None:
    if how == "frozen":
        server.freeze()
    elif how == "killed":
        server.kill()
    elif how == "full":
        server.configure(maxmemory_policy="noeviction", maxmemory="1")
    elif how == "read only":
        server.admin.replicaof("127.0.0.1", str(free_port()))
    else:
        proxy.down = Toxics(limit_bytes=3, ending=Ending.RESET)
        proxy.reset_all()


@pytest.mark.full
@pytest.mark.parametrize("broken", ["frozen", "killed", "full", "read only", "reset"])
async def test_the_added_latency_is_at_most_50_ms(own_redis: RedisServer, broken: str) -> None:
    async with behind_proxy(own_redis) as (tier, proxy):
        await break_it(broken, own_redis, proxy)
        writing = asyncio.create_task(write_on(tier))
        taken = await latencies(tier, 3000)
        assert statistics.quantiles(taken, n=100)[-1] < 0.05
        assert tier.health().degraded
        writing.cancel()
        await asyncio.wait({writing})
        proxy.down = Toxics()
        own_redis.thaw()
        if broken == "killed":
            own_redis.start()
        own_redis.admin.replicaof("NO", "ONE")
        own_redis.configure(maxmemory="0")
        await recovered(tier)


async def write_on(tier: RedisTier) -> None:
    while True:
        await tier.put(bytes(32), b"other", HOUR)
        await asyncio.sleep(0.01)


async def test_a_server_that_was_never_there_is_a_miss() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}") as tier:
        taken = await latencies(tier, 100)
        assert tier.health().degraded
        assert costs_little(taken)


async def test_a_server_that_restarts_between_two_requests(
    tier: RedisTier, own_redis: RedisServer
) -> None:
    own_redis.kill()
    own_redis.start()
    await recovered(tier)


async def test_a_full_server_still_gives_what_it_has(
    tier: RedisTier, own_redis: RedisServer
) -> None:
    own_redis.configure(maxmemory_policy="noeviction", maxmemory="1")
    for number in range(10):
        await tier.put(number.to_bytes(32), b"other", HOUR)
    assert tier.health().degraded
    assert await tier.get(KEY) == b"value"
    own_redis.configure(maxmemory="0")
    await recovered(tier)


async def test_a_read_only_server_still_gives_what_it_has(
    tier: RedisTier, own_redis: RedisServer
) -> None:
    own_redis.configure(replica_serve_stale_data="yes")
    own_redis.admin.replicaof("127.0.0.1", str(free_port()))
    for number in range(10):
        await tier.put(number.to_bytes(32), b"other", HOUR)
    assert tier.health().degraded
    assert await tier.get(KEY) == b"value"
    own_redis.admin.replicaof("NO", "ONE")
    await recovered(tier)


async def test_a_server_that_refuses_everything(tier: RedisTier, own_redis: RedisServer) -> None:
    """A replica that must not serve old data answers as one that is still loading does."""
    own_redis.configure(replica_serve_stale_data="no")
    own_redis.admin.replicaof("127.0.0.1", str(free_port()))
    taken = await latencies(tier, 100)
    assert tier.health().degraded
    assert costs_little(taken)
    own_redis.admin.replicaof("NO", "ONE")
    await recovered(tier)


async def test_a_wrong_password_is_a_miss(redis: RedisServer) -> None:
    async with connected(f"redis://:wrong@127.0.0.1:{redis.port}") as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) is None
        assert tier.health().degraded


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
        b":many\r\n",
        b"$-5\r\n",
        b"$99999999999999\r\n",
        b"*2\r\n$3\r\nab",
        b"-\xff\xfe\r\n",
        b"-MOVED 1 a:b:c\r\n",
        b"$\r\n",
        b"\r\n",
        b"\0" * 1000,
        b"",
    ],
)
async def test_a_server_that_talks_nonsense_is_a_miss(
    own_redis: RedisServer, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "RETRY_SECONDS", 0.05)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(reply)
        await writer.drain()
        writer.close()

    own_redis.kill()
    async with connected(own_redis.url) as tier:
        server = await asyncio.start_server(talk, "127.0.0.1", own_redis.port)
        async with server:
            for _ in range(10):
                await tier.put(KEY, b"value", HOUR)
                assert await tier.get(KEY) is None
            assert tier.health().degraded
        own_redis.start()
        await recovered(tier)


@pytest.mark.parametrize("steps", range(12))
async def test_closing_does_not_wait_for_a_frozen_server(
    tier: RedisTier, own_redis: RedisServer, steps: int
) -> None:
    """At whatever step of a command: at some, `asyncio.wait_for` swallows being cancelled."""
    own_redis.freeze()
    waiting = asyncio.create_task(tier.get(KEY))
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tier.aclose()
        assert await waiting is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost:6379",
        "redis://localhost:port",
        "redis+sentinel://localhost:26379",
        "redis+sentinel:///service",
        "redis+sentinel://localhost:port/service",
        "redis+sentinel://localhost/service/zero",
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="redis://host:port/db") as refused:
        RedisTier(url.replace("//", "//:secret@"))
    assert "secret" not in refused.value.message


def test_without_the_library_the_install_command_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules['redis'] = sys.modules['redis.asyncio'] = None\n"
        "from silkline.cache.redis import RedisTier\n"
        "from silkline.errors import EnvironmentFault\n"
        "try:\n    RedisTier('redis://localhost')\n"
        "except EnvironmentFault as fault:\n    print(fault.remedy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "pip install 'silkline[redis]'\n", done.stderr
