"""`silkline plan`: how many replicas traffic needs, and how autoscaling would do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click
import msgspec

from silkline.bench.option_types import parse_seconds, parse_share
from silkline.cli.inspect import image_size
from silkline.cli.printing import print_result
from silkline.engines.registry import judge
from silkline.errors import ConfigError
from silkline.models.amounts import bytes_text
from silkline.models.inspection import inspect_model
from silkline.models.resolve import locate_model
from silkline.plan.autoscaler import POLICIES
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulation import Fleet, Outcome, simulate
from silkline.plan.sizing import Memory, Trial, fewest_replicas, memory_of
from silkline.plan.traffic import DAY, Curve, day_curve, flash_sale_curve, read_curve
from silkline.report.numbers import span
from silkline.report.terminal import table

_TRAFFIC = re.compile(r"(\d+(?:\.\d+)?)([kM]?)/(s|min|h|day)", re.ASCII)
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}
_SPANS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": DAY}
_SLO = re.compile(r"p(\d{1,2}(?:\.\d+)?)=(.+)", re.ASCII)


def parse_traffic(text: str) -> float:
    """Reads requests a second, written such as `12M/day`.

    Raises:
        click.BadParameter: The text is nothing of that kind, or is 0.
    """
    found = _TRAFFIC.fullmatch(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not a rate such as 12M/day, 400k/h or 25/s.")
    return float(found[1]) * _FACTORS[found[2]] / _SPANS[found[3]]


def parse_slo(text: str) -> tuple[float, float]:
    """Reads a share of the answers and the seconds for them, written such as `p99=420ms`.

    Raises:
        click.BadParameter: The text is nothing of that kind.
    """
    found = _SLO.fullmatch(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not an objective such as p99=420ms.")
    return float(found[1]) / 100, parse_seconds(found[2])


@click.command(context_settings={"show_default": True})
@click.argument("model", required=False)
@click.option(
    "--traffic",
    "rate",
    default="12M/day",
    type=parse_traffic,
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
    "--images",
    default="1024x768",
    type=image_size,
    metavar="WxH",
    help="Size of the images, for the memory of MODEL.",
)
@click.option(
    "--text-tokens",
    default=64,
    type=click.IntRange(min=0),
    help="Tokens of the prompt's text, for the memory of MODEL.",
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
    "--simulate",
    "traffic",
    metavar="FILE",
    help="Simulate autoscaling under the traffic of a CSV file (seconds, rate), or under "
    "one of the curves day and flash-sale, scaled to --traffic.",
)
@click.option(
    "--hours",
    default=(0.0, 24.0),
    type=(float, float),
    metavar="FROM TO",
    help="With --simulate: the part of the traffic to run.",
)
@click.option(
    "--replicas",
    default=(2, 10),
    type=(click.IntRange(1), click.IntRange(1, 512)),
    metavar="MIN MAX",
    help="With --simulate: fewest and most replicas.",
)
@click.option(
    "--start",
    default=("60s",),
    multiple=True,
    type=parse_seconds,
    metavar="TIME",
    help="With --simulate: time until a new replica serves; may be given several times.",
)
@click.option(
    "--losses",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="N",
    help="With --simulate: how often a replica is taken away, per replica and day.",
)
@click.option(
    "--sale",
    default=5.0,
    type=click.FloatRange(min=1),
    metavar="TIMES",
    help="With --simulate flash-sale: the sale's rate over the usual one.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="AMOUNT",
    help="Price of a replica's hour, for the cost per million answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def plan(model: str | None, **options: Any) -> None:
    """Tell how many replicas traffic needs, from measured times of one replica.

    Silkline's own admission and routing run in virtual time, with an engine that takes the given
    times (docs/plan.md). With MODEL, the memory of a replica is told, too.
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
    memory = None
    if model is not None:
        found = inspect_model(locate_model(model, os.environ), judge, (options["images"],))
        memory = memory_of(found, times, options["text_tokens"])
    if options["traffic"]:
        outcomes = _simulated(fleet, options)
        _show_outcomes(outcomes, memory, options)
        return
    trials = fewest_replicas(options["rate"] * options["peak"], fleet, target)
    _show_sizing(trials, memory, fleet, options)


def _curve(options: dict[str, Any]) -> Curve:
    name, requests = options["traffic"], options["rate"] * DAY
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


def _simulated(fleet: Fleet, options: dict[str, Any]) -> list[tuple[float, Outcome]]:
    curve = _curve(options)
    return [
        (start, simulate(curve, msgspec.structs.replace(fleet, start_seconds=start), policy))
        for start in options["start"]
        for policy in POLICIES
    ]


def _cost(hours: float, answers: float, options: dict[str, Any]) -> float | None:
    price = options["price"]
    return None if price is None else price * hours / max(1.0, answers) * 1e6


def _show_outcomes(
    outcomes: list[tuple[float, Outcome]], memory: Memory | None, options: dict[str, Any]
) -> None:
    if options["as_json"]:
        found = [
            {
                "start_seconds": start,
                **msgspec.to_builtins(outcome),
                "cost_per_million": _cost(outcome.replica_hours, outcome.requests, options),
            }
            for start, outcome in outcomes
        ]
        click.echo(msgspec.json.format(msgspec.json.encode({"memory": memory, "runs": found})))
        return
    _show_memory(memory)
    heads = ("start", "in time", "computed in time", "P99", "refused", "replica-hours", "max")
    heads += ("lost", *(("per million",) if options["price"] is not None else ()))
    rows = table("policy", *heads)
    for start, one in outcomes:
        cost = _cost(one.replica_hours, one.requests, options)
        cells = (
            span(start), f"{one.attainment:.3%}", f"{one.computed_attainment:.2%}", span(one.p99),
            str(one.refused), f"{one.replica_hours:.1f}", str(one.most), str(one.lost),
        )  # fmt: skip
        rows.add_row(one.policy, *cells, *(() if cost is None else (f"{cost:.2f}",)))
    print_result(rows)


def _show_sizing(
    trials: list[Trial], memory: Memory | None, fleet: Fleet, options: dict[str, Any]
) -> None:
    target, slo = options["slo"]
    last, rate = trials[-1], options["rate"]
    kept = last.attainment >= target
    cost = _cost(last.replicas / 3600, rate, options) if kept else None
    if options["as_json"]:
        found = {
            "memory": memory,
            "answers_per_second_of_a_replica": fleet.times.answers_per_second(),
            "seconds_alone": fleet.times.alone(),
            "trials": trials,
            "replicas": last.replicas if kept else None,
            "cost_per_million": cost,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    _show_memory(memory)
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


def _show_memory(memory: Memory | None) -> None:
    if memory is None:
        return
    weights = "not told" if memory.weights is None else bytes_text(memory.weights)
    cache = "not told"
    if memory.kv_cache is not None:
        cache = f"{bytes_text(memory.kv_cache)} for a full batch of {memory.tokens} tokens each"
    click.echo(f"weights   {weights}\nKV cache  {cache}\n")
