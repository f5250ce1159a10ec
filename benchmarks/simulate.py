"""`silkline simulate` beside real processes: the same trace through both.

    python -m benchmarks.simulate [--seconds 600] [--rate 15] [--factor 4]

Real: `silkline up` with workers of the fake engine, which takes fixed times; the load test sends a
Poisson process whose rate rises during a sale in the middle, which is more than the workers can do,
so early refusal decides. The day is compressed: two hours in ten minutes. Simulated: the same
arrivals, one by one, with the times that a single client measured before. The SLO attainment of
both should agree within 2 points.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

import msgspec
import uvloop

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, leave
from benchmarks.report import command_line, today, write_report
from benchmarks.subjects import Place, Server, gateway
from silkline.bench.schedule import make_schedule
from silkline.bench.session import run_bench
from silkline.bench.spec import Arrivals, Burst, Form, Limits, Spec, Target, Traffic
from silkline.bench.summary import Summary, summarise
from silkline.errors import SilklineError
from silkline.plan.calibration import measured_of
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulation import Fleet, simulate
from silkline.plan.traffic import Curve

AIM_POINTS = 2.0
_PIXELS = 128
_ALONE_SECONDS = 15.0


class Engine(msgspec.Struct, frozen=True):
    """The fake engine's times in seconds, and its batch."""

    prefill: float = 0.05
    step: float = 0.01
    tokens: int = 20
    batch: int = 16
    workers: int = 2
    slo: float = 1.0


class Row(msgspec.Struct, frozen=True):
    """A figure of both sides."""

    figure: str
    real: float
    simulated: float


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found.

    Attributes:
        times: As a single client measured them.
        rows: The figures.
        points: Difference of the attainment, simulated less real, in points.
        speed: Simulated seconds in a second.
    """

    command: str
    date: str
    machine: dict[str, str]
    engine: Engine
    times: ServiceTimes
    rows: list[Row]
    points: float
    speed: float


def options(engine: Engine) -> list[str]:
    """The options of the real server."""
    times = {
        "prefill_seconds": engine.prefill,
        "token_seconds": engine.step,
        "answer_words": 4 * engine.tokens,  # a request's maximum ends the answer
    }
    return [
        *("--workers", str(engine.workers), "--max-batch", str(engine.batch)),
        *("--slo", str(engine.slo), "--cache-ttl", "0"),
        *("--engine-options", ",".join(f"{name}={value}" for name, value in times.items())),
    ]


def traffic(engine: Engine) -> Traffic:
    """What is sent: small images, none twice, so that no cache and no affinity plays a part."""
    return Traffic(new=1.0, pixels=_PIXELS, form=Form.DATA_URL, max_tokens=engine.tokens)


def play(server: Server, engine: Engine, arrivals: Arrivals) -> Summary:
    """Loads the real server."""
    spec = Spec((Target("real", server.url),), arrivals, traffic(engine), Limits(timeout=30.0))
    return summarise(uvloop.run(run_bench(spec)), 0, engine.slo)


def simulated(engine: Engine, times: ServiceTimes, arrivals: Arrivals) -> dict[str, float]:
    """The same arrivals in virtual time."""
    sent = traffic(engine)
    schedule = make_schedule(arrivals, sent, sent.catalogue)
    fleet = Fleet(times=times, slo=engine.slo, minimum=engine.workers, maximum=engine.workers)
    rate = len(schedule) / arrivals.seconds
    curve = Curve((0.0, arrivals.seconds), (rate, rate))
    began = time.process_time()
    found = simulate(curve, fleet, None, arrivals=schedule.times)
    return {
        "in time": found.attainment,
        "refused": found.refused / max(1, len(schedule)),
        "mean, s": found.mean,
        "P99, s": found.p99,
        "speed": arrivals.seconds / max(1e-9, time.process_time() - began),
    }


def run(place: Place, engine: Engine, arrivals: Arrivals) -> tuple[ServiceTimes, list[Row], float]:
    """Measures the times, plays the trace on both, and compares."""
    with gateway(place, options(engine)) as server:
        alone = play(server, engine, Arrivals(1.0, _ALONE_SECONDS, clients=1))
        one = measured_of(alone, _PIXELS)
        times = ServiceTimes(
            prefill=one.prefill,
            step=one.generate / max(1.0, one.tokens - 1),
            lengths=(engine.tokens,),
            answer_tokens=engine.tokens,
            batch=engine.batch,
            prepare=max(0.0, one.latency - one.prefill - one.generate),
        )
        print(f"measured: {times}", flush=True)
        real = play(server, engine, arrivals)
    virtual = simulated(engine, times, arrivals)
    told = {
        "in time": real.goodput,
        "refused": 1 - real.served / max(1, real.requests),
        "mean, s": real.latency.mean,
        "P99, s": real.latency.p99,
    }
    rows = [Row(name, value, virtual[name]) for name, value in told.items()]
    return times, rows, virtual["speed"]


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# Simulation against real processes, {report.date}", "", f"    {report.command}", ""]
    lines += [f"- {name}: {value}" for name, value in report.machine.items()]
    lines += ["", "| figure | real | simulated |", "|---" * 3 + "|"]
    lines += [f"| {row.figure} | {row.real:.4f} | {row.simulated:.4f} |" for row in report.rows]
    kept = "within" if abs(report.points) <= AIM_POINTS else "NOT within"
    differs = f"Attainment differs by {report.points:+.2f} points, {kept} {AIM_POINTS:.0f}."
    speed = f"{report.speed:.0f} simulated seconds took a second of a core."
    lines += ["", f"{differs} {speed}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the comparison, and says where it is written."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    before, engine = machine(), Engine()
    sale = arguments.seconds / 8  # a quarter of an hour of two hours
    burst = Burst(arguments.factor, sale, arguments.seconds / 2)
    arrivals = Arrivals(arguments.rate, arguments.seconds, burst)
    try:
        times, rows, speed = run(place_of(arguments), engine, arrivals)
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")
    points = 100 * (rows[0].simulated - rows[0].real)
    report = Report(
        command_line("simulate"), today(), before | versions(), engine, times, rows, points, speed
    )
    text = markdown(report)
    path = write_report(report, text, arguments.results, "fake", report.date, "simulate")
    print(f"\n{text}\nwritten to {path} and .json beside it")


def _arguments() -> argparse.Namespace:
    parser = base_parser("The simulator beside real processes.")
    parser.set_defaults(engine="fake")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument(
        "--rate", type=float, default=15.0, help="requests a second before the sale"
    )
    parser.add_argument("--factor", type=float, default=4.0, help="of the sale")
    return parser.parse_args()


if __name__ == "__main__":
    main()
