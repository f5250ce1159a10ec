"""How much one model disturbs another: its latency while the other is killed, replaced or removed.

Both are asked at a fixed rate, with new images of 54 KB as data URLs and without the cache. In each
phase something happens to the model `changing` every few seconds; the table has the latency of the
model `steady`, and how many requests of each failed. Removing a model answers the requests for it
with 404, which is counted apart from requests that are lost.

    python -m benchmarks.two_models [--seconds 60] [--rate 10] [--engine openvino]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import uvloop

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser
from benchmarks.processes import leave, next_line, started
from benchmarks.report import command_line, today, write_report
from silkline.bench.session import run_bench
from silkline.bench.spec import Arrivals, Form, Spec, Target, Traffic
from silkline.bench.summary import Percentiles, summarise

MAX_RATIO = 1.1
"""P99 of the steady model in a phase, relative to that before it: the aim."""

_PIXELS = 480  # JPEGs of 54 KB
_SLO = 1.0
_NOT_FOUND = 404
_ADMIN = "/admin/models"

Happening = Callable[[aiohttp.ClientSession], Awaitable[None]]
"""What happens to the changing model, once."""


class Phase(msgspec.Struct, frozen=True):
    """What was found in a phase.

    Attributes:
        name: What happened to the changing model.
        happened: How often.
        latency: Of the steady model's answers, in seconds.
        requests: Requests to the steady model.
        failed: Those without a complete answer.
        other_requests: Requests to the changing model.
        other_failed: Those without a complete answer, but for those after its removal.
    """

    name: str
    happened: int
    latency: Percentiles
    requests: int
    failed: int
    other_requests: int
    other_failed: int


class Report(msgspec.Struct, frozen=True):
    """Everything that was found."""

    date: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    phases: list[Phase]


def main() -> None:
    """Measures all phases against one server, and writes the report."""
    signal.signal(signal.SIGTERM, leave)
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="silkline-two-models-") as folder:
        config = Path(folder) / "silkline.toml"
        config.write_text(_toml(arguments), encoding="utf-8")
        command = [sys.executable, "-m", "silkline", "up", "--port", "0", "--json"]
        log = Path(folder) / "log"
        with started([*command, "--config", str(config)], log) as process:
            ready: dict[str, Any] = msgspec.json.decode(next_line(process, log))
            phases = uvloop.run(_measured(ready["url"], process.pid, arguments))
    report = Report(today(), command_line("two_models"), machine(), versions(), phases)
    text = "\n".join(_lines(report)) + "\n"
    model = Path(arguments.model).name
    path = write_report(report, text, arguments.results, model, report.date, "two_models")
    print(f"\n{text}\nwritten to {path} and .json beside it")
    if any(phase.failed or phase.other_failed for phase in phases):
        sys.exit("benchmark: some requests failed")


def _toml(arguments: argparse.Namespace) -> str:
    own = f'engine = "{arguments.engine}"\nmodel = "{arguments.model}"\n'
    return (
        f"[engine]\n{own}[cache]\ncache_ttl = 0\n"
        '[admin]\nadmin_without_keys = "loopback"\n[models.steady]\n[models.changing]\n'
    )


async def _measured(url: str, pid: int, arguments: argparse.Namespace) -> list[Phase]:
    async def kill(_: aiohttp.ClientSession) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            _workers(pid)[-1].kill()

    async def replace(http: aiohttp.ClientSession) -> None:
        await _changed(http.put(f"{_ADMIN}/changing", json={}))

    async def remove(http: aiohttp.ClientSession) -> None:
        await _changed(http.delete(f"{_ADMIN}/changing"))
        await asyncio.sleep(arguments.every / 2)
        await _changed(http.post(_ADMIN, json={"name": "changing"}))

    happenings: dict[str, Happening | None] = {
        "nothing (before)": None,
        "killed": kill,
        "replaced": replace,
        "removed and added": remove,
        "nothing (after)": None,
    }
    phases = []
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(url, timeout=timeout) as http:
        for seed, (name, happening) in enumerate(happenings.items(), start=1):
            phases.append(await _phase(name, happening, url, http, seed, arguments))
            print(f"{name}: P99 {phases[-1].latency.p99 * 1000:.1f} ms", flush=True)
    return phases


def _workers(pid: int) -> list[psutil.Process]:
    """The workers, the one that started last at the end."""
    children = psutil.Process(pid).children()
    found = [child for child in children if "silkline.engines.worker" in child.cmdline()]
    return sorted(found, key=psutil.Process.create_time)


async def _changed(sent: Any) -> None:
    async with sent as response:
        response.raise_for_status()


async def _phase(
    name: str,
    happening: Happening | None,
    url: str,
    http: aiohttp.ClientSession,
    seed: int,
    arguments: argparse.Namespace,
) -> Phase:
    specs = [_spec(url, model, seed, arguments) for model in ("steady", "changing")]
    runs = asyncio.gather(*(run_bench(spec) for spec in specs))
    happened = 0
    if happening is not None:
        await asyncio.sleep(_START_SECONDS)
        end = asyncio.get_running_loop().time() + arguments.seconds - arguments.every
        while asyncio.get_running_loop().time() < end:
            await happening(http)
            happened += 1
            await asyncio.sleep(arguments.every)
    steady, other = (summarise(run, 0, _SLO) for run in await runs)
    gone = sum(each.count for each in other.failures if each.status == _NOT_FOUND)
    return Phase(
        name=name,
        happened=happened,
        latency=steady.latency,
        requests=steady.requests,
        failed=steady.requests - steady.served,
        other_requests=other.requests,
        other_failed=other.requests - other.served - gone,
    )


_START_SECONDS = 3.0
"""Until both loads have started."""


def _spec(url: str, model: str, seed: int, arguments: argparse.Namespace) -> Spec:
    traffic = Traffic(
        catalogue=50, new=1.0, pixels=_PIXELS, form=Form.DATA_URL, max_tokens=16, model=model
    )
    arrivals = Arrivals(arguments.rate, arguments.seconds, seed=seed)
    return Spec((Target("A", url),), arrivals, traffic)


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# Two models, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    head = (
        *("the other model is", "times", "requests", "failed", "P50, ms", "P99, ms"),
        *("P99 / before", "aim", "its own requests", "lost"),
    )
    yield from ("", f"| {' | '.join(head)} |", "|" + " --- |" * len(head))
    before = report.phases[0].latency.p99
    for phase in report.phases:
        ratio = phase.latency.p99 / before if before else 0.0
        yield (
            f"| {phase.name} | {phase.happened} | {phase.requests} | {phase.failed} "
            f"| {phase.latency.p50 * 1000:.1f} | {phase.latency.p99 * 1000:.1f} "
            f"| {ratio:.2f} | {MAX_RATIO:.2f} | {phase.other_requests} | {phase.other_failed} |"
        )


def _arguments() -> argparse.Namespace:
    parser = base_parser("The latency of one model while another one changes.")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a phase")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second to each model")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two changes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
