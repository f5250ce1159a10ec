"""What metrics cost: cached answers a second and the latency of one client, with and without them.

Two servers run at the same time and are measured in turns. The one without metrics is the same
program, with the methods of `Metrics` that requests call replaced by ones that do nothing; nobody
can switch them off in the product. The other one is scraped each second while it is measured. The
gateway's processor time for an answer is compared too: other work on the machine changes it little.

    python -m benchmarks.metrics_cost [--rounds 5] [--seconds 10] [--clients 64]
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from benchmarks.gateway_processes import Load, Seen
from benchmarks.machine import machine, versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, leave, next_line, started
from benchmarks.report import GATEWAY, command_line, today, write_report
from benchmarks.subjects import Place
from silkline.__main__ import main as silkline
from silkline.bench.percentiles import percentile
from silkline.observe.metrics import Metrics
from silkline.observe.objectives import Objectives

ON, OFF = "on", "off"
_MODEL = "silkline-fake"
_COUNTING = {
    Metrics: (
        *("request_ended", "failed", "fields_ignored", "first_token"),
        *("image_came", "cache_hit", "loop_lagged", "answered"),
    ),
    Objectives: ("answered", "failed", "first_token"),
}


class Row(msgspec.Struct, frozen=True):
    """One round of one server.

    Attributes:
        metrics: `on` or `off`.
        rate: Cached answers a second, with many clients.
        median_ms: Median milliseconds of an answer, with one client.
        cpu_us: Microseconds of the gateway's processor time for an answer, with many clients.
        failed: Requests that were not answered with 200.
    """

    metrics: str
    rate: float
    median_ms: float
    cpu_us: float
    failed: int


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    rows: list[Row]


def main() -> None:
    """Measures; exit code 1 when a request failed."""
    if sys.argv[1:2] == ["server"]:
        _serve(sys.argv[2], sys.argv[3:])
        return
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    before = machine()
    place = Place(place_of(arguments).cache, "fake", _MODEL)
    try:
        rows = _measure_all(place, arguments)
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    report = Report(command_line("metrics_cost"), today(), before | versions(), rows)
    text = markdown(report)
    path = write_report(report, text, arguments.results, "gateway", report.date, "metrics")
    print(f"\n{text}\nwritten to {path} and .json beside it")
    if any(row.failed for row in rows):
        sys.exit("benchmark: some requests failed")


def _serve(metrics: str, options: list[str]) -> None:
    """Runs `silkline`, without counting if `metrics` is `off`."""
    if metrics == OFF:
        for owner, names in _COUNTING.items():
            for name in names:
                setattr(owner, name, lambda *_: None)
    sys.argv = ["silkline", *options]
    silkline()


def _measure_all(place: Place, arguments: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_server(name, place)) for name in (ON, OFF)}
        for number in range(arguments.rounds):
            for name in (ON, OFF) if number % 2 == 0 else (OFF, ON):
                url, pid = servers[name]
                with _scraped(url, wanted=name == ON):
                    before = cpu_seconds(pid)[GATEWAY]
                    many = _load(url, arguments.clients, arguments.seconds, place)
                    spent = cpu_seconds(pid)[GATEWAY] - before
                    one = _load(url, 1, arguments.seconds, place)
                row = Row(
                    name,
                    len(many.seconds) / arguments.seconds,
                    percentile(sorted(one.seconds), 0.5) * 1e3,
                    spent / len(many.seconds) * 1e6,
                    many.failed + one.failed,
                )
                shown = (
                    f"{row.rate:.0f}/s, {row.median_ms:.2f} ms, {row.cpu_us:.0f} µs of processor"
                )
                print(f"{name}: {shown}", flush=True)
                rows.append(row)
    return rows


@contextmanager
def _server(name: str, place: Place) -> Iterator[tuple[str, int]]:
    """A server's URL and process."""
    log = place.log(f"metrics {name}")
    command = [sys.executable, "-m", "benchmarks.metrics_cost", "server", name, "up"]
    command += ["--port", "0", "--json", "--engine", "fake", "--log-level", "warning"]
    with started(command, log) as process:
        ready: dict[str, str] = msgspec.json.decode(next_line(process, log), type=dict)
        yield ready["url"], process.pid


@contextmanager
def _scraped(url: str, *, wanted: bool) -> Iterator[None]:
    """Reads the metrics each second, as often as any Prometheus would."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(1.0):
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as reply:
                reply.read()

    thread = threading.Thread(target=scrape)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if wanted:
            thread.join()


def _load(url: str, clients: int, seconds: float, place: Place) -> Seen:
    host, _, port = url.removeprefix("http://").rpartition(":")
    log = place.log("metrics load")
    command = [sys.executable, "-m", "benchmarks.gateway_processes", "load"]
    with started(command, log) as process:
        load = Load(host, int(port), _MODEL, clients, seconds, repeats=True, number=0)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(load) + b"\n")
        process.stdin.flush()
        seen = msgspec.json.decode(next_line(process, log), type=Seen)
    if not seen.seconds:
        raise BenchmarkError(f"no request was answered; see {log}")
    time.sleep(0.2)
    return seen


def markdown(report: Report) -> str:
    """The report for people."""
    on, off = (_means(report.rows, name) for name in (ON, OFF))
    lines = [
        "# What metrics cost",
        "",
        f"`{report.command}`, {report.date}",
        "",
        *(f"- {name}: {value}" for name, value in report.machine.items()),
        "",
        "| metrics | cached answers/s | median of one client (ms) | processor time (µs) |",
        "|---|---|---|---|",
        *(
            f"| {row.metrics} | {row.rate:.0f} | {row.median_ms:.3f} | {row.cpu_us:.0f} |"
            for row in report.rows
        ),
        "",
        f"Medians: {1 - on[0] / off[0]:.1%} fewer answers with metrics, {on[1] - off[1]:+.3f} ms.",
        f"Processor time of an answer: {on[2] - off[2]:+.0f} µs ({on[2] / off[2] - 1:+.1%}).",
    ]
    return "\n".join(lines) + "\n"


def _means(rows: list[Row], name: str) -> tuple[float, float, float]:
    """The medians of one server: rate, milliseconds, microseconds of processor time."""
    own = [row for row in rows if row.metrics == name]
    rate = statistics.median(row.rate for row in own)
    cpu = statistics.median(row.cpu_us for row in own)
    return rate, statistics.median(row.median_ms for row in own), cpu


def _arguments() -> argparse.Namespace:
    parser = base_parser("What metrics cost.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
