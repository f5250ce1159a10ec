"""How a gateway stands, seen from outside: its metrics, its processes, what they hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import Served

IN_USE = (
    "silkline_open_requests",
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
        tasks: Tasks of its event loop; 0 where it does not tell.
        in_use: The sum of the gauges `IN_USE`.
    """

    fds: int
    tasks: float
    in_use: float


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have the labels; 0 when there is none."""
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics", timeout=20).text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def standing(running: Served) -> Standing:
    """How the gateway stands now."""
    return Standing(
        fds=psutil.Process(running.process.pid).num_fds(),
        tasks=metric(running.url, "silkline_gateway_tasks"),
        in_use=sum(metric(running.url, name) for name in IN_USE),
    )


async def idle(running: Served) -> Standing:
    """How a gateway stands that has answered something and has nothing to do any more."""
    await until(lambda: standing(running).in_use <= 1, "the gateway did not come to rest")
    return standing(running)


async def settled(
    running: Served, before: Standing, *, seconds: float = 10.0, spare_fds: int = 4
) -> float:
    """Waits until all that requests held is free again; gives the seconds that it took.

    Args:
        running: The gateway.
        before: How it stood before the campaign.
        seconds: What it gets to come to rest.
        spare_fds: Descriptors that it may hold more than before, such as kept connections.
    """

    def at_rest() -> bool:
        now = standing(running)
        return (
            now.in_use <= before.in_use
            and now.fds <= before.fds + spare_fds
            and now.tasks <= before.tasks + 2
        )

    try:
        return await until(at_rest, "", seconds=seconds)
    except AssertionError:
        now = standing(running)
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
    log = "".join(running.log)
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
    assert "defect while answering" not in log
