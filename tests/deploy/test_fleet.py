"""Gateways behind the rendered nginx that share limits and keys, one of them killed repeatedly."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.cache.redis_server import RedisServer, free_port
from tests.campaign.figures import record
from tests.deploy.balancers import balancer
from tests.serving import Served, served

PER_MINUTE = 60
RATE = 4.0
"""Requests per second of each of the two tenants; four times what one of them may send."""

MAX_ATTEMPTS = 12
KEYS = {"shop": "sk-silk-shop", "limited": "sk-silk-limited"}
TENANTS = f"""
[[tenants.shop.keys]]
sha256 = "{hashlib.sha256(KEYS["shop"].encode()).hexdigest()}"
[tenants.limited]
requests_per_minute = {PER_MINUTE}
[[tenants.limited.keys]]
sha256 = "{hashlib.sha256(KEYS["limited"].encode()).hexdigest()}"
"""


class Fleet:
    """Three gateways on ports of their own, each of which may be killed and started again."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        keys = folder / "keys.toml"
        keys.write_text(TENANTS)
        self._options = (
            "--engine", "fake", "--engine-options", "answer_words=4,token_seconds=0.05",
            "--keys-file", str(keys), "--cache-ttl", "0",
            "--idempotency-store", redis_url, "--limits-redis", redis_url,
        )  # fmt: skip
        self.kills = 0
        self.ports = [free_port() for _ in range(3)]
        self._stacks = [ExitStack() for _ in self.ports]
        with ThreadPoolExecutor(3) as threads:
            self._running = list(threads.map(self._start, range(3)))

    def _start(self, index: int) -> Served:
        gateway = served(*self._options, "--port", str(self.ports[index]))
        return self._stacks[index].enter_context(gateway)

    def kill(self, index: int) -> None:
        """Kills a gateway, as a crash would, and starts another one in its place."""
        self.kills += 1
        self._running[index].process.kill()
        self._stacks[index].close()
        self._running[index] = self._start(index)

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    redis = RedisServer(tmp_path)
    made = Fleet(tmp_path, redis.url)
    try:
        yield made
    finally:
        made.close()
        redis.close()


@dataclass
class Load:
    """A tenant that sends requests at a rate, each with an idempotency key."""

    client: httpx2.AsyncClient
    tenant: str
    codes: Counter[int] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    async def run(self, seconds: float) -> float:
        """Sends for so long; gives the seconds between the first and the last request."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(seconds * RATE)):
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                tasks.create_task(self._ask(number))
            ended = time.monotonic()
        return ended - began

    async def _ask(self, number: int) -> None:
        """Asks until there is an answer, as clients of the OpenAI API do."""
        headers = {
            "authorization": f"Bearer {KEYS[self.tenant]}",
            "idempotency-key": f"{self.tenant}-{number}",
        }
        body = {"messages": [{"role": "user", "content": f"question {number}"}]}
        seen: list[str] = []
        for _ in range(MAX_ATTEMPTS):
            try:
                reply = await self.client.post("/v1/chat/completions", json=body, headers=headers)
            except httpx2.HTTPError as error:
                seen.append(type(error).__name__)
                await asyncio.sleep(1)
                continue
            if reply.status_code not in {409, 502, 503}:
                self.codes[reply.status_code] += 1
                return
            seen.append(str(reply.status_code))
            self.attempts[seen[-1]] += 1
            await asyncio.sleep(float(reply.headers["retry-after"]))
        self.lost.append(f"{headers['idempotency-key']}: {seen}")


@pytest.mark.parametrize(
    ("seconds", "pause"),
    [
        pytest.param(24, 8, marks=[pytest.mark.slow, pytest.mark.timeout(180)]),
        pytest.param(600, 10, marks=[pytest.mark.full, pytest.mark.timeout(900)]),
    ],
)
async def test_a_fleet_loses_nothing_and_keeps_limits(
    fleet: Fleet, tmp_path: Path, seconds: float, pause: float
) -> None:
    deploy = "client_rate = 0\nclient_connections = 0"
    upstreams = [
        f"127.0.0.1:{port} weight={weight}"
        for port, weight in zip(fleet.ports, (3, 2, 1), strict=True)
    ]
    with balancer("nginx", tmp_path, upstreams, deploy=deploy) as url:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            loop = asyncio.get_running_loop()
            ends = loop.time() + seconds - pause
            shop, limited = Load(client, "shop"), Load(client, "limited")

            async def kill() -> None:
                while loop.time() < ends:  # a start takes its time
                    await asyncio.sleep(pause)
                    await asyncio.to_thread(fleet.kill, fleet.kills % 3)

            _, took, _ = await asyncio.gather(shop.run(seconds), limited.run(seconds), kill())
    record(
        "fleet-behind-nginx", seed=0, whole=seconds > 60, seconds=seconds,
        kills=fleet.kills, requests=round(seconds * RATE), codes=dict(shop.codes),
        attempts=dict(shop.attempts), admitted_of_limited=limited.codes[200],
        allowed_of_limited=round(PER_MINUTE + PER_MINUTE / 60 * took, 1),
    )  # fmt: skip
    assert (shop.lost, limited.lost) == ([], [])
    assert shop.codes == {200: round(seconds * RATE)}
    allowed = PER_MINUTE + PER_MINUTE / 60 * took
    offered = round(seconds * RATE)
    assert limited.codes[200] == pytest.approx(min(allowed, offered), rel=0.05)
    assert limited.codes.keys() <= {200, 429}
