"""`silkline simulate`: how many replicas traffic needs, and how autoscaling would do."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import msgspec

from silkline.bench.option_types import parse_seconds, parse_share
from silkline.cli.printing import print_result
from silkline.cli.progress import progress_bar
from silkline.cli.slo_option import parse_slo
from silkline.engines.threads import usable_cores
from silkline.errors import ConfigError
from silkline.plan import simulation
from silkline.plan.autoscaler import POLICIES
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulation import Fleet, Outcome
from silkline.plan.sizing import Trial, fewest_replicas
from silkline.plan.traffic import DAY, Curve, day_curve, flash_sale_curve, read_curve
from silkline.plan.workload import parse_rate
from silkline.report.numbers import span
from silkline.report.terminal import table


@click.command("simulate", context_settings={"show_default": True})
@click.argument("curve", required=False)
@click.option(
    "--traffic",
    "rate",
    default="12M/day",
    type=parse_rate,
    metavar="RATE",
    help="Mean rate of requests, such as 12M/day, 400k/h or 25/s.",
)
@click.option(
    "--peak",
    default=1.6,
    type=click.FloatRange(min=1),
    metavar="TIMES",
    help="The rate to size for, in means; the built-in day has 1.6.",
)
@click.option(
    "--slo",
    default="p99=420ms",
    type=parse_slo,
    metavar="P99=TIME",
    help="Share of all requests to answer within a time.",
)
@click.option(
    "--hit-rate",
    default="0",
    type=parse_share,
    metavar="SHARE",
    help="Share of the requests that the answer cache answers.",
)
@click.option(
    "--prefill",
    required=True,
    type=parse_seconds,
    metavar="TIME",
    help="Measured: time to encode the images and prefill the prompt, one request alone.",
)
@click.option(
    "--step",
    required=True,
    type=parse_seconds,
    metavar="TIME",
    help="Measured: time of a step, whatever the batch.",
)
@click.option(
    "--step-request",
    type=parse_seconds,
    metavar="TIME",
    help="Measured: what each request of the batch adds to a step.",
)
@click.option(
    "--prepare",
    default="10ms",
    type=parse_seconds,
    metavar="TIME",
    help="Measured: time to fetch and decode the images.",
)
@click.option("--answer-tokens", default=32, type=click.IntRange(min=1), help="Mean of an answer.")
@click.option("--max-batch", default=16, type=click.IntRange(min=1), help="Requests in a batch.")
@click.option(
    "--hours",
    default=(0.0, 24.0),
    type=(float, float),
    metavar="FROM TO",
    help="With CURVE: the part of the traffic to run.",
)
@click.option(
    "--replicas",
    default=(2, 10),
    type=(click.IntRange(1), click.IntRange(1, 512)),
    metavar="MIN MAX",
    help="With CURVE: minimum and maximum replicas.",
)
@click.option(
    "--start",
    default=("60s",),
    multiple=True,
    type=parse_seconds,
    metavar="TIME",
    help="With CURVE: time until a new replica serves; may be given several times.",
)
@click.option(
    "--losses",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="N",
    help="With CURVE: how often a replica is taken away, per replica and day.",
)
@click.option(
    "--sale",
    default=5.0,
    type=click.FloatRange(min=1),
    metavar="TIMES",
    help="With flash-sale: the sale's rate over the usual one.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="AMOUNT",
    help="Price of a replica's hour, for the cost per million answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def simulate(curve: str | None, **options: Any) -> None:
    """Simulate a fleet, from measured times of one replica.

    Silkline's own admission and routing run in virtual time, with an engine that takes the given
    times (docs/simulate.md). Without CURVE, it tells how many replicas --traffic needs. With CURVE,
    it compares policies of autoscaling: CURVE is a CSV file (seconds, rate), or day or flash-sale,
    which are scaled to --traffic.
    """
    times = ServiceTimes(
        prefill=options["prefill"],
        step=options["step"],
        step_request=options["step_request"] or 0.0,
        answer_tokens=options["answer_tokens"],
        batch=options["max_batch"],
        prepare=options["prepare"],
    )
    target, slo = options["slo"]
    low, high = options["replicas"]
    fleet = Fleet(
        times=times, slo=slo, hit_rate=options["hit_rate"], minimum=low,
        maximum=max(low, high), losses_per_day=options["losses"],
    )  # fmt: skip
    if curve is not None:
        _show_outcomes(_simulated(curve, fleet, options), options)
        return
    with progress_bar(quiet=options["as_json"]) as bar:
        bar.show("simulating the fewest replicas", 0, 0)
        trials = fewest_replicas(
            options["rate"] * options["peak"],
            fleet,
            target,
            lambda trial: bar.show(
                f"{trial.replicas} replicas answer {trial.attainment:.2%} in time; more", 0, 0
            ),
        )
    _show_sizing(trials, fleet, options)


def _curve(name: str, options: dict[str, Any]) -> Curve:
    requests = options["rate"] * DAY
    begin, end = (hour * 3600 for hour in options["hours"])
    if name == "day":
        curve = day_curve(requests)
    elif name == "flash-sale":
        curve = flash_sale_curve(requests, options["sale"])
    else:
        curve = read_curve(Path(name))
    if not 0 <= begin < min(end, curve.end):
        raise ConfigError(
            f"--hours leaves nothing of the traffic, which lasts {span(curve.end)}. Choose hours "
            "within it."
        )
    return curve.between(begin, end)


def _simulated(name: str, fleet: Fleet, options: dict[str, Any]) -> list[tuple[float, Outcome]]:
    """Runs each policy with each start, as many at a time as there are cores."""
    curve = _curve(name, options)
    cases = [(start, policy.name) for start in options["start"] for policy in POLICIES]
    fleets = [msgspec.structs.replace(fleet, start_seconds=start) for start, _ in cases]
    workers = min(usable_cores(), len(cases))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        outcomes = list(
            pool.map(_outcome, itertools.repeat(curve), fleets, (policy for _, policy in cases))
        )
    return [(start, outcome) for (start, _), outcome in zip(cases, outcomes, strict=True)]


def _outcome(curve: Curve, fleet: Fleet, policy: str) -> Outcome:
    """One simulation, in a process of its own."""
    (chosen,) = (one for one in POLICIES if one.name == policy)
    return simulation.simulate(curve, fleet, chosen)


def _cost(hours: float, answers: float, options: dict[str, Any]) -> float | None:
    price = options["price"]
    return None if price is None else price * hours / max(1.0, answers) * 1e6


def _show_outcomes(outcomes: list[tuple[float, Outcome]], options: dict[str, Any]) -> None:
    if options["as_json"]:
        found = [
            {
                "start_seconds": start,
                **msgspec.to_builtins(outcome),
                "cost_per_million": _cost(outcome.replica_hours, outcome.requests, options),
            }
            for start, outcome in outcomes
        ]
        click.echo(msgspec.json.format(msgspec.json.encode({"runs": found})))
        return
    heads = ("start", "in time", "computed in time", "P99", "refused", "replica-hours", "max")
    heads += ("lost", *(("per million",) if options["price"] is not None else ()))
    rows = table("policy", *heads)
    for start, one in outcomes:
        cost = _cost(one.replica_hours, one.requests, options)
        cells = (
            span(start), f"{one.attainment:.3%}", f"{one.computed_attainment:.2%}", span(one.p99),
            str(one.refused), f"{one.replica_hours:.1f}", str(one.peak), str(one.lost),
        )  # fmt: skip
        rows.add_row(one.policy, *cells, *(() if cost is None else (f"{cost:.2f}",)))
    print_result(rows)


def _show_sizing(trials: list[Trial], fleet: Fleet, options: dict[str, Any]) -> None:
    target, slo = options["slo"]
    last, rate = trials[-1], options["rate"]
    kept = last.attainment >= target
    cost = _cost(last.replicas / 3600, rate, options) if kept else None
    if options["as_json"]:
        found = {
            "answers_per_second_of_a_replica": fleet.times.answers_per_second(),
            "seconds_alone": fleet.times.alone(),
            "trials": trials,
            "replicas": last.replicas if kept else None,
            "cost_per_million": cost,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    rows = table("replicas", "in time", "P99 computed")
    for one in trials:
        rows.add_row(str(one.replicas), f"{one.attainment:.3%}", span(one.p99))
    print_result(rows)
    alone = span(fleet.times.alone())
    click.echo(
        f"\nA replica answers at most {fleet.times.answers_per_second():.1f}/s, and a request "
        f"alone in {alone}."
    )
    if kept:
        price = "" if cost is None else f"; {cost:.2f} per million answers"
        peak = f"{rate * options['peak']:.0f}/s"
        click.echo(
            f"Replicas: {last.replicas}, for {target:.3g} of {peak} within {span(slo)}{price}."
        )
    else:
        click.echo(f"No number of replicas that was tried answers {target:.3g} within {span(slo)}.")
