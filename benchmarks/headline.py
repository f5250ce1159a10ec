"""The headline: 12 million requests a day, which is 139 a second, on this machine.

One gateway with one worker of the bundled model gets Zipf traffic over 100,000 pictures, 2% of
them new, in an open loop with bursts; beside it, in the same run, the naive design at the highest
load that it holds, which a search in steps finds. Both get uploads to `/predict`. To hold means: no
request fails, and 99% are answered within the SLO. The naive design is spared the bursts.

    python -m benchmarks.headline [--seconds 600] [--warm 10000] [--without-naive]
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.headline_report import NAIVE_STEP, Headline, Side, markdown
from benchmarks.machine import machine, versions
from benchmarks.naive_environment import naive_versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, leave
from benchmarks.report import command_line, today, write_report
from benchmarks.subjects import Place, Server, gateway, naive
from silkline.bench.percentiles import percentile
from silkline.bench.record import Run
from silkline.bench.report.page import write_page
from silkline.bench.session import run_bench
from silkline.bench.spec import Arrivals, Burst, Form, Limits, Spec, Target, Traffic
from silkline.bench.summary import Summary, summarise
from silkline.errors import SilklineError
from silkline.models.resolve import resolve_model

_FIRST_RATE = 8.0
_SLOWEST = 0.1
_PROMPT = "What is this?"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked of both.

    Attributes:
        arrivals: Of the gateway; the naive design gets them without bursts, at its own rate.
        traffic: Of both.
        warm: Most popular pictures that are asked for before the clock starts.
        slo: Seconds.
    """

    arrivals: Arrivals
    traffic: Traffic
    warm: int
    slo: float

    def play(self, server: Server, arrivals: Arrivals, warm: int) -> tuple[Run, Side]:
        """Runs the bench against a server, and counts what its processes take."""
        target = Target("A", server.url)
        spec = Spec((target,), arrivals, self.traffic, Limits(timeout=30.0), warm=warm)
        before = cpu_seconds(server.pid)
        run = uvloop.run(run_bench(spec))
        after = cpu_seconds(server.pid)
        summary = summarise(run, 0, self.slo)
        count = max(1, summary.requests + summary.generator.warmed)
        cpu = {name: (after[name] - before.get(name, 0.0)) / count * 1000 for name in after}
        return run, Side(arrivals.rate, arrivals.seconds, held(summary), summary, cpu)


def held(summary: Summary) -> bool:
    """Whether nothing failed and 99% were in time."""
    return summary.served == summary.requests and summary.latency.p99 <= summary.slo


def highest(play: Callable[[float], Side], rate: float = _FIRST_RATE) -> list[Side]:
    """Steps up from a rate until one is not held; down first, where the first is not.

    Gives all steps in the order in which they were tried.
    """
    steps = [play(rate)]
    up = steps[0].held
    while steps[-1].held is up and rate > _SLOWEST:
        rate = rate * NAIVE_STEP if up else rate / NAIVE_STEP
        steps.append(play(rate))
    return steps


def main() -> None:
    """Runs the scenario, and says where it is written; exit code 1 when it was not held."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    place = place_of(arguments)
    scenario = _scenario(arguments)
    before = machine()
    try:
        run, ours = _gateway_side(place, scenario, arguments)
        steps: list[Side] = []
        theirs: Side | None = None
        if not arguments.without_naive:
            steps, theirs = _naive_side(place, scenario, arguments)
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")
    manifest = resolve_model(place.model).manifest
    if theirs is not None:
        before |= {"naive design": naive_versions()}
    report = Headline(
        command=command_line("headline"),
        date=today(),
        machine=before | versions(),
        model=f"{manifest.name}@{manifest.revision}",
        spec=run.spec,
        gateway=ours,
        naive=theirs,
        steps=[(step.rate, step.held, step.summary.latency.p99) for step in steps],
        burst_p99=_burst_p99(run),
    )
    path = _write(report, run, ours.summary, arguments.results)
    print(f"\n{markdown(report)}\nwritten to {path}, .json and .html beside it")
    if not ours.held:
        sys.exit("benchmark: the gateway did not hold the load")


def _gateway_side(
    place: Place, scenario: Scenario, arguments: argparse.Namespace
) -> tuple[Run, Side]:
    options = shlex.split(arguments.gateway_options)
    with gateway(place, options) as server:
        print(f"gateway: {scenario.arrivals}, {scenario.warm} warmed", flush=True)
        return scenario.play(server, scenario.arrivals, scenario.warm)


def _naive_side(
    place: Place, scenario: Scenario, arguments: argparse.Namespace
) -> tuple[list[Side], Side]:
    with naive(place) as server:

        def play(rate: float, seconds: float = arguments.step_seconds) -> Side:
            arrivals = Arrivals(rate, seconds, seed=scenario.arrivals.seed)
            _, side = scenario.play(server, arrivals, 0)
            p99 = side.summary.latency.p99
            told = "held" if side.held else "not held"
            print(f"naive at {rate:.1f}/s: {told}, P99 {p99 * 1000:.0f} ms", flush=True)
            return side

        steps = highest(play)
        best = max((step.rate for step in steps if step.held), default=steps[-1].rate)
        return steps, play(best, arguments.naive_seconds)


def _burst_p99(run: Run) -> dict[str, float]:
    """P99 in seconds of what was due within bursts, and of the rest."""
    burst = run.spec.arrivals.burst
    latencies: dict[str, list[float]] = {"outside of bursts": [], "in bursts": []}
    for record in run.records:
        at = record.intended
        within = burst is not None and at >= burst.every and at % burst.every < burst.seconds
        if record.ok:
            latencies["in bursts" if within else "outside of bursts"].append(record.latency)
    return {name: percentile(values, 0.99) for name, values in latencies.items() if values}


def _scenario(arguments: argparse.Namespace) -> Scenario:
    burst = Burst(arguments.burst_factor, arguments.burst_seconds, arguments.burst_every)
    return Scenario(
        arrivals=Arrivals(arguments.rate, arguments.seconds, burst),
        traffic=Traffic(
            catalogue=arguments.catalogue,
            zipf=1.0,
            new=0.02,
            form=Form.UPLOAD,
            prompts=(_PROMPT,),
            max_tokens=16,
        ),
        warm=arguments.warm,
        slo=0.42,
    )


def _write(report: Headline, run: Run, summary: Summary, folder: Path) -> Path:
    """Writes the report as Markdown and JSON, and the gateway's page."""
    model = report.model.partition("@")[0]
    path = write_report(report, markdown(report), folder, model, report.date, "headline")
    write_page(run, [summary], None, path.with_suffix(".html"))
    return path


def _arguments() -> argparse.Namespace:
    parser = base_parser("139 requests a second, with bursts.")
    parser.add_argument("--rate", type=float, default=139.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--burst-factor", type=float, default=3.0)
    parser.add_argument("--burst-seconds", type=float, default=20.0)
    parser.add_argument("--burst-every", type=float, default=120.0)
    parser.add_argument("--catalogue", type=int, default=100_000)
    parser.add_argument("--warm", type=int, default=10_000, help="most popular pictures, before")
    parser.add_argument("--step-seconds", type=float, default=10.0, help="of the naive's search")
    parser.add_argument("--naive-seconds", type=float, default=60.0, help="at the load it holds")
    parser.add_argument("--without-naive", action="store_true")
    parser.add_argument("--gateway-options", default="", help="more options of silkline up")
    return parser.parse_args()


if __name__ == "__main__":
    main()
