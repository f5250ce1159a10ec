"""What the gateway gives from its cache: the same pictures again and again.

First in a closed loop, so many connections of which each asks again when it is answered: the most
that one gateway process gives. Then in an open loop at half of that: the latency that a gateway
with room to spare gives. Once with pictures of 50 KB as data URLs, once with their URLs, which the
gateway fetches from the bench's own origin on loopback.

    python -m benchmarks.cached [--seconds 10] [--connections 32] [--engine fake]
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httptools
import msgspec
import uvloop

from benchmarks.closed_loop import Cell, Measured, Reply, closed_loop
from benchmarks.figures import Figures, figures
from benchmarks.machine import machine, versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, free_port, leave
from benchmarks.report import command_line, today, write_report
from benchmarks.subjects import Server, gateway
from silkline.bench.answer import read_answer
from silkline.bench.catalogue import load_catalogue
from silkline.bench.client import HttpClient, Response
from silkline.bench.forms import RequestWriter
from silkline.bench.record import OK, Record
from silkline.bench.session import image_origin, model_of, run_bench
from silkline.bench.spec import Arrivals, Form, Spec, Target, Traffic
from silkline.bench.summary import Summary, summarise
from silkline.errors import SilklineError

SLO = 0.02
"""P99 at half load, in seconds."""

LEAST_RATE = {Form.DATA_URL: 1500.0, Form.URL: 3000.0}
"""Answers a second, the aim."""

_PIXELS = 480  # JPEGs of 54 KB
_PICTURES = 200
_HITS = frozenset({"hit", "coalesced", "near"})


class Found(msgspec.Struct, frozen=True):
    """One form of request.

    Attributes:
        form: How the pictures were sent.
        body_bytes: Mean bytes of a request.
        closed: The closed loop.
        open: The open loop at half of the closed one's rate.
    """

    form: Form
    body_bytes: float
    closed: Figures
    open: Summary


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    found: list[Found]


def main() -> None:
    """Measures both forms; exit code 1 when a request failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    place = place_of(arguments)
    before, port = machine(), free_port()
    options = ["--private-hosts", f"127.0.0.1:{port}", *shlex.split(arguments.gateway_options)]
    try:
        with gateway(place, options) as server:
            found = [_measure(server, form, port, arguments) for form in LEAST_RATE]
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")
    report = Report(
        command=command_line("cached"),
        date=today(),
        machine=before | versions(),
        found=found,
    )
    model = Path(arguments.model).name
    path = write_report(report, markdown(report), arguments.results, model, report.date, "cached")
    print(f"\n{markdown(report)}\nwritten to {path} and .json beside it")
    if any(one.closed.errors or one.open.failures for one in found):
        sys.exit("benchmark: some requests failed")


def _measure(server: Server, form: Form, port: int, arguments: argparse.Namespace) -> Found:
    traffic = Traffic(catalogue=_PICTURES, pixels=_PIXELS, form=form, max_tokens=16)
    target = Target("A", server.url)
    cpu = cpu_seconds(server.pid)
    measured, body_bytes = uvloop.run(cached_answers(target, traffic, port, arguments))
    after = cpu_seconds(server.pid)
    closed = figures(measured, {name: after[name] - cpu.get(name, 0.0) for name in after})
    print(f"{form.value}, closed loop: {closed.rate:.0f}/s, {closed.errors} errors", flush=True)
    arrivals = Arrivals(max(1.0, closed.rate / 2), arguments.seconds)
    spec = Spec((target,), arrivals, traffic, warm=_PICTURES)
    run = uvloop.run(run_bench(spec, origin_port=port))
    return Found(form, body_bytes, closed, summarise(run, 0, SLO))


async def cached_answers(
    target: Target, traffic: Traffic, port: int, arguments: argparse.Namespace
) -> tuple[Measured, float]:
    """Asks as fast as it goes for pictures that were asked for before; also the bytes of a body."""
    client = HttpClient(target.url, arguments.connections)
    async with image_origin(traffic, port) as origin:
        model = await model_of(target, traffic)
        writer = RequestWriter(target, traffic, load_catalogue(traffic), model, origin)
        bodies = [writer.request(number, 0) for number in range(_PICTURES)]

        async def ask(pieces: list[bytes]) -> Response:
            response = Response()
            try:
                await client.exchange(pieces, response)
            except (OSError, httptools.HttpParserError):
                response.status = 0
            return response

        for pieces in bodies:
            await ask(pieces)
        cell = Cell(
            prompt=traffic.prompts[0],
            max_tokens=traffic.max_tokens,
            concurrency=arguments.connections,
            warmup_seconds=1.0,
            seconds=arguments.seconds,
            first_picture=0,
            pictures=round(arguments.max_rate * (arguments.seconds + 1)),
        )
        questions = [bodies[number % _PICTURES] for number in range(cell.pictures)]
        measured = await closed_loop(cell, questions, ask, _read)
    client.close()
    return measured, sum(len(piece) for pieces in bodies for piece in pieces) / _PICTURES


def _read(response: Response) -> Reply:
    record = Record(0, 0, 0, 0, 0.0)
    read_answer(response, record, 0.0)
    status = record.status if record.ok else record.status * (record.status != OK)
    return Reply(status, "", record.completion_tokens, record.cache in _HITS)


def markdown(report: Report) -> str:
    """The report for people."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# Cached answers, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    yield f"- pictures: {_PICTURES}, {_PIXELS} x {_PIXELS} pixels"
    yield from ("", f"| {' | '.join(_HEAD)} |", "|" + " --- |" * len(_HEAD))
    for one in report.found:
        closed, opened = one.closed, one.open
        failed = closed.errors + opened.requests - opened.served
        yield (
            f"| {one.form.value} | {one.body_bytes / 1000:.1f} | {closed.rate:.0f} "
            f"| {LEAST_RATE[one.form]:.0f} | {closed.cached} "
            f"| {closed.p99:.1f} | {opened.per_second(opened.served):.0f} "
            f"| {opened.latency.p50 * 1000:.1f} | {opened.latency.p99 * 1000:.1f} "
            f"| {SLO * 1000:.0f} | {failed} |"
        )
    yield from ("", "Processor milliseconds of one core for each request in the closed loop:", "")
    for one in report.found:
        parts = ", ".join(f"{name} {ms:.2f}" for name, ms in one.closed.cpu_ms.items())
        yield f"- {one.form.value}: {parts}; the load took {one.closed.client_cpu:.0%} of a core"


_HEAD = (
    *("sent as", "KB a request", "closed loop, answers/s", "aim", "from a cache, warm-up too"),
    *("P99, ms", "open loop at half, answers/s", "P50, ms", "P99, ms", "aim", "failed"),
)


def _arguments() -> argparse.Namespace:
    parser = base_parser("Answers from the gateway's cache.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--max-rate", type=float, default=10_000, help="bound of the closed loop")
    parser.add_argument("--gateway-options", default="", help="more options of silkline up")
    return parser.parse_args()


if __name__ == "__main__":
    main()
