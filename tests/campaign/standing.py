"""How a gateway stands, seen from outside: its metrics, its processes, what they hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.serving import Served

IN_USE = (
    "silkline_open_requests",
    "silkline_queue_preparing",
    "silkline_queue_waiting",
    "silkline_queue_running",
    "silkline_intake_inflight_bytes",
    "silkline_replica_requests",
    "silkline_replica_engine_running",
    "silkline_replica_engine_queued",
)
"""Gauges that are zero when nobody asks anything; `/metrics` itself is one open request."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a gateway's process holds.

    Attributes:
        fds: Open file descriptors.
        tasks: Tasks of its event loop.
        in_use: The sum of the gauges `IN_USE`.
    """

    fds: int
    tasks: float
    in_use: float


def metrics(url: str, key: str = "") -> dict[str, float]:
    """Every metric, summed over its labels.

    Args:
        url: The gateway's address.
        key: Opens its metrics, where it asks for one.
    """
    sums: dict[str, float] = {}
    for sample in _samples(url, key):
        sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def metric(url: str, name: str, key: str = "", **labels: str) -> float:
    """The sum of a metric's samples that have the labels; 0 when there is none."""
    return sum(
        sample.value
        for sample in _samples(url, key)
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _samples(url: str, key: str) -> Iterator[Sample]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    reply = httpx2.get(f"{url}/metrics", headers=headers, timeout=20)
    for family in text_string_to_metric_families(reply.text):
        yield from family.samples


def standing(running: Served, key: str = "") -> Standing:
    """How the gateway stands now; `key` opens its metrics, where it asks for one."""
    told = metrics(running.url, key)
    return Standing(
        fds=psutil.Process(running.process.pid).num_fds(),
        tasks=told["silkline_gateway_tasks"],
        in_use=sum(told.get(name, 0.0) for name in IN_USE),
    )


async def idle(running: Served, key: str = "") -> Standing:
    """How a gateway stands that has answered something and has nothing to do any more."""
    await until(lambda: standing(running, key).in_use <= 1, "the gateway did not come to rest")
    return standing(running, key)


async def settled(
    running: Served, before: Standing, *, seconds: float = 10.0, spare_fds: int = 4, key: str = ""
) -> float:
    """Waits until all that requests held is free again; gives the seconds that it took.

    Args:
        running: The gateway.
        before: How it stood before the campaign.
        seconds: What it gets to come to rest.
        spare_fds: Descriptors that it may hold more than before, such as kept connections.
        key: Opens its metrics, where it asks for one.
    """

    def at_rest() -> bool:
        now = standing(running, key)
        return (
            now.in_use <= before.in_use
            and now.fds <= before.fds + spare_fds
            and now.tasks <= before.tasks + 2
        )

    try:
        return await until(at_rest, "", seconds=seconds)
    except AssertionError:
        now = standing(running, key)
        raise AssertionError(f"not at rest: {now}, and before the campaign {before}") from None


async def until(true: Callable[[], bool], what: str, *, seconds: float = 20.0) -> float:
    """Waits until something is true; gives the seconds that it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(true):
        assert time.monotonic() < began + seconds, what
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def is_ready(url: str) -> bool:
    """What `/ready` says; a server that does not answer is not ready."""
    try:
        return httpx2.get(f"{url}/ready", timeout=5).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def pss_bytes(running: Served) -> int:
    """Memory of the gateway with all its children, shared pages counted once."""
    gateway = psutil.Process(running.process.pid)
    total = 0
    for process in (gateway, *gateway.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def assert_no_defects(running: Served) -> None:
    """The log has no traceback and no defect."""
    for line in running.log:
        assert "Traceback" not in line, line[:500] + " ... " + line[-3000:]
        assert "defect while answering" not in line
