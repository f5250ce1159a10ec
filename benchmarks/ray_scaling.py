"""How throughput grows with workers on Ray, and what a request costs beside the engine.

    python -m benchmarks.ray_scaling [--seconds 5] [--workers 1,2,4] [--results FILE]

A cluster of one node is started on this machine, with more CPUs than it has: the fake engine waits
and computes nothing. A worker answers `--batch` requests at a time, each in `--service-ms`. For
each number of workers, clients keep twice the slots busy. Before that, one client asks alone: the
median beyond the service time is the overhead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from silkline.service.ray.cluster import LOOPBACK

CPUS = 16


def main() -> None:
    """Runs the benchmark and prints its results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--service-ms", type=float, default=200.0)
    parser.add_argument("--alone", type=int, default=40, help="requests of the client alone")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - starts in that environment

    node = {
        "node_ip_address": LOOPBACK,
        "num_cpus": CPUS,
        "object_store_memory": 80 * 2**20,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        rows = [
            measured(options, cluster.address, int(count)) for count in options.workers.split(",")
        ]
        rows.append(measured(options, "", 1))
    finally:
        cluster.shutdown()
    text = json.dumps({"settings": vars(options) | {"results": ""}, "rows": rows}, indent=1)
    print(text)
    if options.results is not None:
        options.results.write_text(text + "\n")


def measured(options: argparse.Namespace, address: str, workers: int) -> dict[str, Any]:
    """One server's figures; without an address, its workers are on this machine, without Ray."""
    words = 8
    arguments = [sys.executable, "-m", "silkline", "up", "--port", "0", "--json"]
    arguments += ["--engine", "fake", "--workers", str(workers), "--max-batch", str(options.batch)]
    engine = f"answer_words={words},token_seconds={options.service_ms / 1000 / words}"
    arguments += ["--engine-options", engine]
    if address:
        arguments += ["--on", "ray", "--ray-address", address]
    server = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = json.loads(server.stdout.readline() if server.stdout else "")["url"]
        return asyncio.run(loaded(options, url, workers)) | {"on": "ray" if address else "machine"}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


async def loaded(options: argparse.Namespace, url: str, workers: int) -> dict[str, Any]:
    """Asks alone, then with twice as many clients as slots."""
    slots = workers * options.batch
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await all_serve(session, url, workers)
        alone = [await asked(session, url, f"alone {number}") for number in range(options.alone)]
        until = time.monotonic() + options.seconds

        async def client(number: int) -> int:
            done = 0
            while time.monotonic() < until:
                await asked(session, url, f"{number} {done}")
                done += 1
            return done

        began = time.monotonic()
        done = sum(await asyncio.gather(*(client(number) for number in range(2 * slots))))
        seconds = time.monotonic() - began
    return {
        "workers": workers,
        "requests_per_second": round(done / seconds, 2),
        "of_possible": round(done / seconds / (slots / options.service_ms * 1000), 3),
        "overhead_ms_p50": round(1000 * statistics.median(alone) - options.service_ms, 2),
    }


async def all_serve(session: aiohttp.ClientSession, url: str, workers: int) -> None:
    """Waits until all workers serve."""
    while True:
        async with session.get(f"{url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        ready = [line for line in lines if line.startswith("silkline_replica_ready{")]
        if sum(float(line.split()[-1]) for line in ready) >= workers:
            return
        await asyncio.sleep(0.1)


async def asked(session: aiohttp.ClientSession, url: str, text: str) -> float:
    """Seconds of one request, whose answer no cache has."""
    message = {"role": "user", "content": text}
    body = {"model": "silkline-fake", "messages": [message], "max_tokens": 64}
    began = time.perf_counter()
    headers = {"cache-control": "no-store"}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
