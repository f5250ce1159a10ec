"""Runs the cells of the comparison: each workload, number of clients and gateway, in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.closed_loop import Cell
from benchmarks.figures import figures
from benchmarks.gateways.peers import Peer, Place, on_cores, running
from benchmarks.processes import (
    Driver,
    cpu_seconds,
    resident_bytes,
    started,
    wait_for_port,
)

_MAX_RATE = 20_000
"""Requests a second that no cell exceeds; a closed loop needs a bound."""


_FIRST_REQUESTS = 16
_FIRST_SECONDS = 60.0


class Found(msgspec.Struct, frozen=True):
    """What one gateway did in one cell, or in all rounds of it.

    Attributes:
        workload: What was sent.
        clients: Number of clients, each with one request in flight.
        peer: The gateway.
        requests: Answers in the window.
        errors: Requests without a whole answer.
        rate: Requests a second.
        p50: Median latency, in milliseconds.
        p99: 99th percentile of the latency, in milliseconds.
        cpu_ms: Processor milliseconds of a request, over all processes of the gateway.
        memory_bytes: Proportional set size of all its processes after the cell.
        load_share: The share of a core that the load took, 0 to 1.
    """

    workload: str
    clients: int
    peer: str
    requests: int
    errors: int
    rate: float
    p50: float
    p99: float
    cpu_ms: float
    memory_bytes: int
    load_share: float


class Plan(msgspec.Struct, frozen=True):
    """What is measured.

    Attributes:
        peers: The gateways.
        workloads: What is sent.
        clients: Numbers of clients.
        rounds: How often each cell is measured.
        warmup_seconds: Time before the window of a cell.
        seconds: Length of the window.
        upstream_ms: Milliseconds that the upstream server takes for an answer.
    """

    peers: tuple[str, ...]
    workloads: tuple[str, ...]
    clients: tuple[int, ...]
    rounds: int
    warmup_seconds: float
    seconds: float
    upstream_ms: float


def measure(plan: Plan, place: Place, load_cores: Sequence[int], jpegs: Path) -> list[Found]:
    """Measures everything; raises `BenchmarkError` if a process does not start or ends early.

    All gateways run all the time, and one of them has requests at a time. In each cell they take
    turns.
    """
    found: list[Found] = []
    with ExitStack() as stack:
        stack.enter_context(_upstream(plan, place, load_cores))
        peers = [stack.enter_context(running(name, place)) for name in plan.peers]
        for workload in plan.workloads:
            with ExitStack() as loads:
                drivers = [
                    loads.enter_context(_load(peer, workload, jpegs, place, load_cores))
                    for peer in peers
                ]
                for driver in drivers:
                    driver.run(_first_requests(plan))
                for clients in plan.clients:
                    for number in range(plan.rounds):
                        for peer, driver in zip(peers, drivers, strict=True):
                            one = _run(plan, (workload, clients, number), peer, driver)
                            found.append(one)
                            print(_line(one), file=sys.stderr, flush=True)
    return found


def _max_requests(plan: Plan) -> int:
    """Requests of a cell; each cell has numbers of its own."""
    return round(_MAX_RATE * (plan.warmup_seconds + plan.seconds))


def _first_requests(plan: Plan) -> Cell:
    """A few requests that are not counted: some gateways load what they need with the first one."""
    first = plan.rounds * len(plan.clients) * _max_requests(plan)
    return Cell("", 0, 4, 0.0, _FIRST_SECONDS, first, _FIRST_REQUESTS)


def _run(plan: Plan, cell: tuple[str, int, int], peer: Peer, driver: Driver) -> Found:
    workload, clients, number = cell
    max_requests = _max_requests(plan)
    first = (number * len(plan.clients) + plan.clients.index(clients)) * max_requests
    before = {} if peer.pid is None else cpu_seconds(peer.pid)
    measured = driver.run(
        Cell("", 0, clients, plan.warmup_seconds, plan.seconds, first, max_requests)
    )
    after = {} if peer.pid is None else cpu_seconds(peer.pid)
    told = figures(
        measured, {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    )
    return Found(
        workload=workload,
        clients=clients,
        peer=peer.name,
        requests=told.requests,
        errors=told.errors,
        rate=told.rate,
        p50=told.p50,
        p99=told.p99,
        cpu_ms=sum(told.cpu_ms.values()),
        memory_bytes=0 if peer.pid is None else resident_bytes(peer.pid)[1],
        load_share=told.client_cpu,
    )


@contextmanager
def _upstream(plan: Plan, place: Place, load_cores: Sequence[int]) -> Iterator[None]:
    port = place.upstream.partition(":")[2]
    module = "benchmarks.gateways.upstream"
    command = [sys.executable, "-m", module, port, str(plan.upstream_ms)]
    log = place.log("upstream")
    with on_cores(load_cores[-1:]), started(command, log, output=subprocess.DEVNULL) as process:
        wait_for_port(process, int(port), log)
        yield


@contextmanager
def _load(
    peer: Peer, workload: str, jpegs: Path, place: Place, load_cores: Sequence[int]
) -> Iterator[Driver]:
    module = "benchmarks.gateways.load"
    log = place.log(f"load {peer.name} {workload}")
    command: list[str | Path] = [sys.executable, "-m", module, peer.url, workload, jpegs]
    with on_cores(load_cores[:1]), started(command, log) as process:
        yield Driver(process, log)


def _line(one: Found) -> str:
    return (
        f"{one.workload}, {one.clients} clients, {one.peer}: {one.rate:.0f}/s, "
        f"{one.p50:.1f} ms, {one.cpu_ms:.2f} ms of processor time, {one.errors} errors"
    )
