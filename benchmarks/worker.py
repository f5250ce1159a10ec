"""What it costs to have the engine in a process of its own.

    python -m benchmarks.worker                      the fake engine: the way there and back
    python -m benchmarks.worker --engine openvino    the bundled model: is the batch kept full

Prints a line for each case: the time from a request to its answer's end, the processor time that
each side takes for a request, and how many requests the engine computed at a time, on average. It
uses only the supervisor's and the engine's interface, so it measures older versions as well.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import aclosing

import psutil
import uvloop

from silkline.core import Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.models.resolve import bundled_folder
from tests.engines.asking import picture, request, user

PICTURES = 64
PROBE_SECONDS = 0.02


class Load:
    """Requests to one worker, so many at a time."""

    def __init__(self, engine: WorkerEngine, requests: list[Request]) -> None:
        self._engine = engine
        self._requests = requests
        self.answered = 0
        self.running: list[int] = []

    async def run(self, at_once: int, seconds: float) -> float:
        """Asks for so long; returns how long it took."""
        began = time.perf_counter()
        until = began + seconds
        self.answered = 0
        self.running.clear()
        await asyncio.gather(self._watch(until), *(self._ask(until) for _ in range(at_once)))
        return time.perf_counter() - began

    async def _ask(self, until: float) -> None:
        while time.perf_counter() < until:
            asked = self._requests[self.answered % len(self._requests)]
            self.answered += 1
            async with aclosing(self._engine.generate(asked)) as deltas:
                async for _ in deltas:
                    pass

    async def _watch(self, until: float) -> None:
        while time.perf_counter() < until:
            self.running.append((await self._engine.probe(10.0)).running)
            await asyncio.sleep(PROBE_SECONDS)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(engine: str, side: int, seconds: float) -> None:
    """Prints the cases of one engine."""
    openvino = engine == "openvino"
    options = EngineOptions(
        model=bundled_folder() if openvino else None,
        extra={} if openvino else {"answer_words": "1"},
    )
    sampling = Sampling(max_tokens=24 if openvino else 1)
    worker = WorkerSupervisor(engine, options)
    await worker.start()
    try:
        if worker.engine is None or worker.pid is None:
            raise SystemExit("the worker does not serve")
        here, there = psutil.Process(), psutil.Process(worker.pid)
        pictures = [picture(n, side, side) for n in range(PICTURES)]
        for stream in (False, True):
            requests = [
                request(user(0, "Describe this."), images=(each,), sampling=sampling, stream=stream)
                for each in pictures
            ]
            load = Load(worker.engine, requests)
            for at_once in (1, 20):
                await load.run(at_once, seconds / 4)
                before = _cpu(here), _cpu(there)
                took = await load.run(at_once, seconds)
                after = _cpu(here), _cpu(there)
                each = 1e6 / load.answered
                how = "streamed" if stream else "whole"
                print(
                    f"{engine}, {side} px, {how}, {at_once} at once: {load.answered / took:.0f}/s, "
                    f"{at_once * took * each:.0f} us from end to end, "
                    f"{(after[0] - before[0]) * each:.0f} us here, "
                    f"{(after[1] - before[1]) * each:.0f} us in the worker, "
                    f"{sum(load.running) / len(load.running):.1f} running"
                )
    finally:
        await worker.aclose()


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("fake", "openvino"), default="fake")
    parser.add_argument("--side", type=int, default=128, help="pixels of a picture's side")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case")
    arguments = parser.parse_args()
    uvloop.run(measure(arguments.engine, arguments.side, arguments.seconds))


if __name__ == "__main__":
    main()
