"""What a request costs as things grow: tenants, replicas, cached answers, images, connections.

    python -m benchmarks.growth

Each row measures one operation at several sizes, in processor time: the smallest of several rounds.
A row is flat where the largest size costs at most 20 microseconds more than the smallest, or twice
as much. It is linear where the cost for each unit beyond the smallest size stays within twice that
of the first step. Everything else is marked.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from urllib.parse import urlsplit

import msgspec

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, leave
from benchmarks.report import command_line, today, write_report
from benchmarks.subjects import Place, gateway
from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.tenant import Tenant
from silkline.cache.memory import MemoryTier
from silkline.config import AdmissionSettings
from silkline.core import EngineInfo, Timeline, Usage
from silkline.ingress.source import EncodedSource
from silkline.routing.ejection import Ejection, ReplicaRecord

FLAT_SECONDS = 20e-6
FLAT_FACTOR = 2.0
LINEAR_FACTOR = 2.0

SIZES = {
    "tenants, one request each expected": (1, 100, 1_000, 10_000),
    "tenants, one request each waiting": (1, 100, 1_000, 10_000),
    "replicas, 16 requests in flight at each": (1, 8, 32),
    "cached answers": (1_000, 100_000),
    "KiB of an image": (64, 256, 1024, 4096),
    "images of 64 KiB a request": (1, 4, 16),
    "open connections": (1, 100, 1_000),
}
"""What grows, and how far."""

_INFO = EngineInfo("none", "none", "0", "none", context_length=8192, image_tokens=0)
_SIZE = Size(40, (), max_tokens=16)
_ROUNDS = 5


class Row(msgspec.Struct, frozen=True):
    """One operation.

    Attributes:
        grows: What grows.
        operation: What is measured.
        seconds: Of processor time, by size.
    """

    grows: str
    operation: str
    seconds: dict[int, float]

    @property
    def shape(self) -> str:
        """Flat, linear, or neither."""
        sizes = sorted(self.seconds)
        first, last = self.seconds[sizes[0]], self.seconds[sizes[-1]]
        if last - first <= FLAT_SECONDS or last <= FLAT_FACTOR * first:
            return "flat"
        slopes = [
            (self.seconds[large] - self.seconds[small]) / (large - small)
            for small, large in itertools.pairwise(sizes)
        ]
        whole = (last - first) / (sizes[-1] - sizes[0])
        base = max(slopes[0], first / sizes[0])
        return "linear" if max(whole, slopes[-1]) <= LINEAR_FACTOR * base else "**steeper**"


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    rows: list[Row]


def main() -> None:
    """Measures all rows, and writes the report."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    before = machine()
    try:
        rows = measure(SIZES, place_of(arguments))
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    report = Report(command_line("growth"), today(), before | versions(), rows)
    text = markdown(report)
    path = write_report(report, text, arguments.results, "fake", report.date, "growth")
    print(f"\n{text}\nwritten to {path} and .json beside it")


def measure(sizes: Mapping[str, Sequence[int]], place: Place | None) -> list[Row]:
    """Measures what is named in `sizes`; open connections only where there is a `place`."""
    rows = []
    for grows, (operation, seconds) in _OPERATIONS.items():
        rows.append(Row(grows, operation, {size: seconds(size) for size in sizes[grows]}))
        print(f"{grows}: done", flush=True)
    if place is not None:
        grows = "open connections"
        rows.append(Row(grows, "answer a request", _connections(sizes[grows], place)))
    return rows


def _each(call: Callable[[], object], times: int) -> float:
    """Processor seconds of one call: the smallest mean of several rounds."""
    means = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(times):
            call()
        means.append((time.process_time() - began) / times)
    return min(means)


def _admission(most: int) -> Admission:
    settings = AdmissionSettings(max_queue=2 * most + 64)
    return Admission(settings, lambda: 1)


def _admitting(admission: Admission, tenants: int) -> float:
    """A request of each tenant in turn: let in, its turn foreseen, and gone again."""
    names = itertools.cycle([Tenant(f"tenant {number}") for number in range(tenants)])

    def admit() -> None:
        with admission.admit(next(names), _SIZE, _INFO, timeout_seconds=1e6):
            pass

    return _each(admit, 2_000)


def _expected(tenants: int) -> float:
    async def main() -> float:
        admission = _admission(tenants)
        await _learn(admission)
        with ExitStack() as open_requests:
            for number in range(tenants):
                tenant = Tenant(f"tenant {number}")
                opened = admission.admit(tenant, _SIZE, _INFO, timeout_seconds=1e6)
                open_requests.enter_context(opened)
            return _admitting(admission, tenants)

    return asyncio.run(main())


def _waiting(tenants: int) -> float:
    async def main() -> float:
        admission = _admission(tenants)
        await _learn(admission)
        ended = asyncio.Event()

        async def wait(number: int) -> None:
            tenant = Tenant(f"tenant {number}")
            with admission.admit(tenant, _SIZE, _INFO, timeout_seconds=1e6) as ticket:
                async with admission.turn(ticket):
                    await ended.wait()

        tasks = [asyncio.create_task(wait(number)) for number in range(tenants + 1)]
        await asyncio.sleep(0)
        seconds = _admitting(admission, tenants)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seconds

    return asyncio.run(main())


async def _learn(admission: Admission) -> None:
    """Lets it know what an answer costs, as it does after the first ones."""
    for _ in range(8):
        with admission.admit(Tenant("first"), _SIZE, _INFO, timeout_seconds=9) as ticket:
            async with admission.turn(ticket) as turn:
                await asyncio.sleep(0.001)
                turn.answered(Usage(10, 16), Timeline())


def _replicas(count: int) -> float:
    records = [ReplicaRecord() for _ in range(count)]
    ejection = Ejection(records)
    for record, kind in itertools.product(records, range(3)):
        for _ in range(8):
            record.pace.answered(record.pace.begin(kind))
        for _ in range(16 // 3):
            record.pace.begin(kind)
    return _each(ejection.eject_slow, 50)


def _cached(entries: int) -> float:
    tier = MemoryTier(entries * 4096)

    async def main() -> float:
        keys = [number.to_bytes(32) for number in range(entries)]
        for key in keys:
            await tier.put(key, bytes(600), 3600.0)
        asked = itertools.cycle(keys)
        began = time.process_time()
        for _ in range(20_000):
            await tier.get(next(asked))
        return (time.process_time() - began) / 20_000

    return min(asyncio.run(main()) for _ in range(2))


def _image(kib: int) -> float:
    text = base64.b64encode(os.urandom(kib * 1024)).decode()

    def read() -> None:
        source = EncodedSource(text, "image")
        _ = source.digest
        source.decode()

    return _each(read, max(4, 2048 // kib))


def _images(count: int) -> float:
    texts = [base64.b64encode(os.urandom(64 * 1024)).decode() for _ in range(count)]

    def read() -> None:
        for text in texts:
            source = EncodedSource(text, "image")
            _ = source.digest
            source.decode()

    return _each(read, 32)


_OPERATIONS: dict[str, tuple[str, Callable[[int], float]]] = {
    "tenants, one request each expected": ("admit a request and end it", _expected),
    "tenants, one request each waiting": ("admit a request and end it", _waiting),
    "replicas, 16 requests in flight at each": ("look for slow replicas", _replicas),
    "cached answers": ("read one from memory", _cached),
    "KiB of an image": ("hash and unpack a data URL", _image),
    "images of 64 KiB a request": ("hash and unpack them", _images),
}


def _connections(counts: Sequence[int], place: Place) -> dict[int, float]:
    """Processor seconds of the gateway for an answer while others are connected and silent."""
    body = msgspec.json.encode(
        {
            "model": "silkline-fake",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    )
    found = {}
    with (
        gateway(place, ("--max-connections", str(max(counts) + 64))) as server,
        ExitStack() as held,
    ):
        address = urlsplit(server.url)
        host, port = str(address.hostname), int(address.port or 80)
        client = http.client.HTTPConnection(host, port)

        def ask(times: int) -> None:
            for _ in range(times):
                client.request("POST", "/v1/chat/completions", body, _HEADERS)
                with client.getresponse() as response:
                    response.read()
                    if response.status != http.client.OK:
                        raise BenchmarkError(f"the gateway answered {response.status}")

        ask(100)
        opened = 1
        for count in counts:
            for _ in range(count - opened):
                held.enter_context(socket.create_connection((host, port)))
            opened = count
            before = cpu_seconds(server.pid)["gateway"]
            ask(500)
            found[count] = (cpu_seconds(server.pid)["gateway"] - before) / 500
    return found


_HEADERS = {"content-type": "application/json"}


def markdown(report: Report) -> str:
    """The report for people."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# Cost against size, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    yield from ("", "Microseconds of processor time.", "")
    yield from ("| what grows | operation | size: cost | shape |", "| --- | --- | --- | --- |")
    for row in report.rows:
        costs = ", ".join(f"{size:,}: {cost * 1e6:.1f}" for size, cost in row.seconds.items())
        yield f"| {row.grows} | {row.operation} | {costs} | {row.shape} |"


def _arguments() -> argparse.Namespace:
    parser = base_parser("Cost against tenants, replicas, cached answers, images, connections.")
    parser.set_defaults(engine="fake")
    return parser.parse_args()


if __name__ == "__main__":
    main()
