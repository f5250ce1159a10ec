"""Case 53: an hour's worth of small accidents; nothing is lost and nothing grows.

Two gateways behind nginx share a Redis. The whole size runs for 30 minutes, or for as many as
`SOAK_MINUTES` says:

    SOAK_MINUTES=480 make test-full TESTS=tests/campaign/test_soak.py
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from tests.cache.redis_server import RedisServer
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.fault_proxy import fault_proxy
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.load import arrivals, together
from tests.campaign.nemesis import Nemesis, Targets
from tests.campaign.nginx import Upstream, nginx
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, pss_bytes, settled
from tests.serving import Served, served

RATE = 20.0
"""Requests per second."""

DEADLINE_SECONDS = 20
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
OPTIONS = (
    "--engine", "fake", "--engine-options", "token_seconds=0.005",
    "--request-timeout", str(DEADLINE_SECONDS), "--cache-memory-bytes", "200000",
    "--hang-timeout", "6",
)  # fmt: skip


@dataclass
class Watch:
    """Samples of what the gateways hold.

    Attributes:
        gateways: Those that are looked at.
        seconds: When.
        total: Memory of the gateways and all their children, shared pages counted once.
        own: Resident memory of the gateways alone. Workers that are killed do not change it, which
            they do to everybody's share of what they shared.
        fds: Descriptors of the gateways.
    """

    gateways: list[Served]
    seconds: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    fds: list[float] = field(default_factory=list)

    def look(self) -> None:
        processes = [psutil.Process(each.process.pid) for each in self.gateways]
        self.seconds.append(time.monotonic())
        self.total.append(sum(pss_bytes(each) for each in self.gateways))
        self.own.append(sum(each.memory_info().rss for each in processes))
        self.fds.append(sum(each.num_fds() for each in processes))

    async def run(self, pause_seconds: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            await asyncio.sleep(pause_seconds)

    @staticmethod
    def every_sixth(values: list[float]) -> list[float]:
        """About seven of the samples, in MiB."""
        return [round(value / 1024**2, 1) for value in values[:: max(1, len(values) // 6)]]

    def growth(self, values: list[float]) -> tuple[float, float]:
        """Percent an hour by linear regression after the first third, and its standard error."""
        start = len(values) // 3
        hours = [second / 3600 for second in self.seconds[start:]]
        values = values[start:]
        slope, level = statistics.linear_regression(hours, values)
        middle = statistics.fmean(hours)
        rest = sum(
            (value - level - slope * hour) ** 2 for hour, value in zip(hours, values, strict=True)
        )
        spread = sum((hour - middle) ** 2 for hour in hours)
        error = (rest / max(1, len(hours) - 2) / spread) ** 0.5
        percent = 100 / statistics.fmean(values)
        return slope * percent, error * percent


@asynccontextmanager
async def shop(folder: Path, seed: int) -> AsyncIterator[Targets]:
    """Clients, proxy, nginx, two gateways, proxy, Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(closing(RedisServer(folder)))
        async with fault_proxy(redis.port, seed=seed) as to_redis:
            url = f"redis://127.0.0.1:{to_redis.port}"
            gateways = [
                stack.enter_context(
                    served(*OPTIONS, "--cache-redis", url, "--idempotency-store", url)
                )
                for _ in range(2)
            ]
            ports = [Upstream(each.host_and_port[1]) for each in gateways]
            front = stack.enter_context(nginx(folder, ports))
            async with fault_proxy(front, seed=seed) as to_clients:
                yield Targets(gateways, redis, to_redis, to_clients)


@pytest.mark.parametrize("seconds", sizes(10, MINUTES * 60, minutes=MINUTES + 10))
async def test_small_accidents_for_a_long_time(seed: int, seconds: float, tmp_path: Path) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(400)
    whole = seconds > 60
    async with shop(tmp_path, seed) as targets:
        client = Client(("127.0.0.1", targets.to_clients.port), history)

        async def come(place: int) -> None:
            chosen = questions[int(asker.chance.paretovariate(0.6)) % len(questions)]
            if asker.chance.random() < 0.3:  # computed again
                chosen = replace(chosen, headers=(("cache-control", "no-cache"),))
            leaves = asker.chance.random() < 0.05
            leave = asker.chance.uniform(0.0, 0.3) if leaves else None
            await client.ask(f"soak-{place}", chosen, Manner(DEADLINE_SECONDS, leave))

        for turn in range(4 if whole else 1):  # each gateway has seen each picture
            for place in range(0, len(questions), 40):
                part = questions[place : place + 40]
                await together(client, part, prefix=f"warm-{turn}-{place}")
        before = [await idle(gateway) for gateway in targets.gateways]
        nemesis, watch = Nemesis(targets, history, asker.chance), Watch(targets.gateways)
        stop = asyncio.Event()
        background = asyncio.gather(
            nemesis.run(15 if whole else 1, stop), watch.run(5 if whole else 1, stop)
        )
        await arrivals(RATE, seconds, asker.chance, come)
        stop.set()
        await background
        for gateway, at_first in zip(targets.gateways, before, strict=True):
            await settled(gateway, at_first, seconds=30, spare_fds=12)
    for gateway in targets.gateways:
        assert_no_defects(gateway)
    (total, total_error), (own, own_error) = watch.growth(watch.total), watch.growth(watch.own)
    third = len(watch.fds) // 3
    fds = [round(statistics.fmean(part)) for part in (watch.fds[:third], watch.fds[-third:])]
    record(
        "53-soak", seed=seed, whole=whole, minutes=round(seconds / 60, 1),
        requests=len(history.operations), outcomes=history.outcomes(), faults=nemesis.done,
        gateways_memory_percent_per_hour=f"{own:.2f} +- {own_error:.2f}",
        all_memory_percent_per_hour=f"{total:.2f} +- {total_error:.2f}",
        gateways_mib=watch.every_sixth(watch.own), all_mib=watch.every_sixth(watch.total),
        fds_first_and_last_third=fds,
    )  # fmt: skip
    assert not violations(history)
    assert fds[1] <= fds[0] + 12
    if whole:
        assert own - 2 * own_error < 1.0
