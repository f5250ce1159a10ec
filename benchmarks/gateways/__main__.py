"""Gateways side by side, in front of one upstream server: what does each cost?

make gateways
python -m benchmarks.gateways [--quick] [--peers NAME ...] [--clients 1 16 64 256]
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

import msgspec

from benchmarks.gateways.measure import Found, Plan, measure
from benchmarks.gateways.peers import PEERS, Place, cores, missing
from benchmarks.gateways.table import markdown
from benchmarks.gateways.workloads import WORKLOADS, described, prepare
from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.processes import BenchmarkError, free_port, leave
from benchmarks.report import command_line, today, write_report

_WARMUP_SECONDS = 1.0
_QUICK_SECONDS = 0.5
_PHOTOGRAPHS = "photographs/lib/python*/site-packages/skimage/data"


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    plan: Plan
    found: list[Found]


def main() -> None:
    """Measures and writes the report; exit code 1 if a request failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    before = machine()
    load_cores, peer_cores = cores()
    place = Place(
        environments=arguments.environments,
        work=arguments.work,
        upstream=f"127.0.0.1:{free_port()}",
        cores=peer_cores,
        silkline_options=tuple(shlex.split(arguments.silkline_options)),
    )
    place.work.mkdir(parents=True, exist_ok=True)
    absent = {name: how for name in arguments.peers if (how := missing(name, place))}
    plan = _plan(arguments, absent)
    jpegs = arguments.work / "photographs"
    try:
        prepare(_photographs(arguments.environments), jpegs)
        found = measure(plan, place, load_cores, jpegs)
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    shares = {
        "processor of the load and the upstream server": _told(load_cores),
        "processor of each gateway": _told(peer_cores),
        "upstream server": f"answers after {plan.upstream_ms:g} ms, streamed or whole",
        "photographs": "; ".join(described(jpegs)),
        **{f"not installed: {name}": how for name, how in absent.items()},
    }
    about = before | versions() | shares
    report = Report(command_line("gateways"), today(), about, plan, found)
    text = f"    {report.command}\n\n{markdown(report.machine, plan, found)}"
    print(text)
    if arguments.results:
        path = write_report(report, text, arguments.results, "upstream", report.date, "gateways")
        print(f"written to {path} and .json beside it")
    if any(one.errors for one in found):
        sys.exit("benchmark: some requests failed")


def _plan(arguments: argparse.Namespace, absent: dict[str, str]) -> Plan:
    quick = arguments.quick
    clients = arguments.clients or ([1, 16] if quick else [1, 16, 64, 256])
    return Plan(
        peers=tuple(name for name in arguments.peers if name not in absent),
        workloads=tuple(arguments.workloads),
        clients=tuple(clients),
        rounds=1 if quick else arguments.rounds,
        warmup_seconds=_QUICK_SECONDS if quick else _WARMUP_SECONDS,
        seconds=_QUICK_SECONDS if quick else arguments.seconds,
        upstream_ms=arguments.upstream_ms,
    )


def _photographs(environments: Path) -> Path:
    found = sorted(environments.glob(_PHOTOGRAPHS))
    if not found:
        raise BenchmarkError("the photographs are not installed; run: make gateways")
    return found[0]


def _told(numbers: tuple[int, ...]) -> str:
    return f"{len(numbers)} of its own ({', '.join(map(str, numbers))})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Gateways side by side.")
    parser.add_argument("--quick", action="store_true", help="a short run; its figures are rough")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--clients", nargs="+", type=int, help="numbers of clients")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each cell")
    parser.add_argument("--upstream-ms", type=float, default=20.0)
    parser.add_argument("--environments", type=Path, default=ROOT / ".cache" / "gateways")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "bench-gateways")
    parser.add_argument("--results", type=Path, help="folder to write the report to")
    parser.add_argument("--silkline-options", default="", help="more options of silkline up")
    return parser.parse_args()


if __name__ == "__main__":
    main()
