"""Who breaks things while a soak runs: one fault after the other, by a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil
import redis as redis_library

from tests.cache.redis_server import RedisServer
from tests.campaign.fault_proxy import FaultProxy, Toxics
from tests.campaign.history import Fault, History
from tests.processes import DECODER, WORKER
from tests.serving import Served


@dataclass(frozen=True, slots=True)
class Targets:
    """What may be broken.

    Attributes:
        gateways: Their workers and decoders are killed and frozen.
        redis: Their Redis.
        to_redis: The proxy in front of it.
        to_clients: The proxy between the clients and nginx.
    """

    gateways: list[Served]
    redis: RedisServer
    to_redis: FaultProxy
    to_clients: FaultProxy


class Nemesis:
    """Does one thing at a time, and undoes it."""

    def __init__(self, targets: Targets, history: History, chance: random.Random) -> None:
        self._targets = targets
        self._history = history
        self._chance = chance
        self._deeds: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "kill -9 a worker": self._kill_worker,
            "SIGSTOP a worker for 2 s": self._freeze_worker,
            "kill -9 a decoder": self._kill_decoder,
            "kill -9 Redis for 2 s": self._kill_redis,
            "SIGSTOP Redis for 2 s": self._freeze_redis,
            "reset Redis' connections": self._reset_redis,
            "300 ms to Redis for 2 s": self._slow_redis,
            "reset all clients": self._reset_clients,
            "200 ms and slices to clients for 2 s": self._slow_clients,
        }
        self.done: dict[str, int] = dict.fromkeys(self._deeds, 0)
        """How often each was done."""

    async def run(self, pause_seconds: float, stop: asyncio.Event) -> None:
        """Breaks something after each pause, until told to stop; the kinds in turn, shuffled."""
        while True:
            names = list(self._deeds)
            self._chance.shuffle(names)
            for name in names:
                try:
                    async with asyncio.timeout(pause_seconds):
                        await stop.wait()
                except TimeoutError:
                    pass
                else:
                    return
                with self._history.fault(name) as fault:
                    await self._deeds[name](fault)
                self.done[name] += 1

    def _child(self, of: str) -> psutil.Process | None:
        gateway = self._chance.choice(self._targets.gateways)
        children = psutil.Process(gateway.process.pid).children(recursive=True)
        found = [child for child in children if of in " ".join(_command(child))]
        return self._chance.choice(found) if found else None

    async def _kill_worker(self, fault: Fault) -> None:
        if (worker := self._child(WORKER)) is not None:
            worker.kill()

    async def _freeze_worker(self, fault: Fault) -> None:
        if (worker := self._child(WORKER)) is not None:
            worker.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2)
            if worker.is_running():
                worker.send_signal(signal.SIGCONT)

    async def _kill_decoder(self, fault: Fault) -> None:
        if (decoder := self._child(DECODER)) is not None:
            decoder.kill()

    async def _kill_redis(self, fault: Fault) -> None:
        await asyncio.to_thread(self._targets.redis.kill)
        await asyncio.sleep(2)
        await asyncio.to_thread(self._targets.redis.start)

    async def _freeze_redis(self, fault: Fault) -> None:
        self._targets.redis.freeze()
        await asyncio.sleep(2)
        self._targets.redis.thaw()

    async def _reset_redis(self, fault: Fault) -> None:
        self._targets.to_redis.reset_all()

    async def _slow_redis(self, fault: Fault) -> None:
        self._targets.to_redis.down = Toxics(latency_seconds=0.3)
        await asyncio.sleep(2)
        self._targets.to_redis.down = Toxics()

    async def _reset_clients(self, fault: Fault) -> None:
        already = frozenset(self._targets.to_clients.cut)
        self._targets.to_clients.reset_all()
        fault.cut = frozenset(self._targets.to_clients.cut) - already

    async def _slow_clients(self, fault: Fault) -> None:
        self._targets.to_clients.down = Toxics(latency_seconds=0.2, slice_bytes=100)
        await asyncio.sleep(2)
        self._targets.to_clients.down = Toxics()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


async def restore_redis(redis: RedisServer) -> None:
    """A Redis that answers, whatever was done to it."""
    redis.thaw()
    try:
        redis.admin.ping()
    except redis_library.RedisError:
        await asyncio.to_thread(redis.start)
