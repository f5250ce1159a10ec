"""`silkline plan`: what hardware a model and its traffic need."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from silkline.bench.option_types import parse_seconds
from silkline.cli.inspect import image_size
from silkline.cli.plan_verify import show, verify
from silkline.cli.printing import print_result
from silkline.cli.slo_option import parse_slo
from silkline.engines.registry import judge
from silkline.errors import ConfigError
from silkline.models.amounts import bytes_text, count_text
from silkline.models.inspection import inspect_model
from silkline.models.resolve import locate_model
from silkline.plan.calibration import calibrate, read_measured
from silkline.plan.devices import DEVICES, HERE, find_device
from silkline.plan.page import plan_page
from silkline.plan.plan import BITS, Choice, Plan, make_plan
from silkline.plan.roofline import Reached
from silkline.plan.shape import Shape, shape_of
from silkline.plan.workload import Workload, parse_count, parse_rate


def _count(text: str) -> int:
    return 0 if text == "0" else parse_count(text)


_SHARE = click.FloatRange(0, 1, min_open=True)
_P99 = 0.99
_USUAL = Workload(rate=1.0, slo=1.0)
"""What a workload is where no flag says it."""

_SHOWN = 12
"""Ways that the terminal shows."""


@click.command()
@click.argument("model")
@click.option(
    "--traffic", "rate", required=True, type=parse_rate, metavar="RATE", help="Such as 12M/day."
)
@click.option(
    "--slo", "objective", required=True, type=parse_slo, metavar="P99", help="Such as p99=420ms."
)
@click.option(
    "--images",
    "image",
    default="{}x{}".format(*_USUAL.image),
    show_default=True,
    type=image_size,
    metavar="WxH",
)
@click.option(
    "--image-bytes",
    default=str(_USUAL.image_bytes),
    show_default=True,
    type=parse_count,
    help="Of its file.",
)
@click.option(
    "--prompt-tokens", default=_USUAL.prompt_tokens, show_default=True, type=click.IntRange(1)
)
@click.option(
    "--answer-tokens", default=_USUAL.answer_tokens, show_default=True, type=click.IntRange(1)
)
@click.option(
    "--hit-rate",
    default=_USUAL.hit_rate,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of requests that the answer cache answers.",
)
@click.option(
    "--peak",
    default=_USUAL.peak,
    show_default=True,
    type=click.FloatRange(1),
    help="Times the average rate, for which replicas are counted.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Only these; by default all. `here` is this machine.",
)
@click.option("--bits", type=click.Choice([str(width) for width in BITS]), help="Of a weight.")
@click.option("--price", type=click.FloatRange(0), help="Of an hour of one device.")
@click.option(
    "--parameters", default="0", type=_count, help="Of a model whose weights are not here: 7.06B."
)
@click.option("--vision-parameters", default="0", type=_count, help="Of these, in the tower.")
@click.option("--compute", default=Reached().compute, show_default=True, type=_SHARE)
@click.option("--bandwidth", default=Reached().bandwidth, show_default=True, type=_SHARE)
@click.option(
    "--overhead",
    default="2ms",
    show_default=True,
    type=parse_seconds,
    help="Of a step, and of a prefill, beside.",
)
@click.option(
    "--calibrate",
    "measurements",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="summary.json of a load test of this model, instead of the assumed shares; give one of a "
    "single client and one of a full batch.",
)
@click.option(
    "--measured-on",
    default=HERE,
    show_default=True,
    metavar="DEVICE",
    help="With --calibrate: the device that was loaded.",
)
@click.option(
    "--measured-bits",
    default="8",
    show_default=True,
    type=click.Choice([str(width) for width in BITS]),
    help="With --calibrate: bits of a weight there.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Measure the model on this machine for about a minute, and print the prediction's errors.",
)
@click.option("--engine", default="", metavar="NAME", help="With --verify: the engine.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="With --verify: where the measurements are kept, for --calibrate.",
)
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(model: str, out: Path | None, *, as_json: bool, **asked: Any) -> None:
    """Plan the hardware for MODEL and its traffic, before any is bought.

    Reads the model's files, not its weights. --compute and --bandwidth are the shares of a device's
    figures that programs reach, --overhead is what a step takes beside; the defaults are
    assumptions. A load test of this model replaces them: --calibrate reads its files, and --verify
    runs one here.
    """
    share, asked["slo"] = asked["objective"]
    if share != _P99:
        raise ConfigError("A plan is for the P99. Write the objective as --slo p99=420ms.")
    work = Workload(**{name: asked[name] for name in Workload.__struct_fields__})
    shape_for = partial(_shape, model, asked)
    shape = shape_for(work.image)
    reached = _reached(work, shape_for, asked)
    verification = None
    if asked["verify"]:
        arguments = (model, asked["engine"], work, shape_for, reached, asked["keep"])
        verification = verify(*arguments)
        reached = verification.calibrated
    made = make_plan(
        shape,
        work,
        [find_device(name) for name in asked["devices"]] or DEVICES.values(),
        bits=BITS if asked["bits"] is None else (int(asked["bits"]),),
        reached=reached,
        price=asked["price"],
    )
    if out is not None:
        _write(out, plan_page(made, f"silkline plan {shlex.quote(model)}"))
    if as_json:
        told = {**msgspec.to_builtins(made), "verification": verification}
        click.echo(msgspec.json.encode(told))
        return
    _print(made)
    if verification is not None:
        show(verification)
    if out is not None:
        click.echo(f"\nwrote {out}")


def _shape(model: str, asked: Mapping[str, Any], image: tuple[int, int]) -> Shape:
    found = inspect_model(locate_model(model, os.environ), judge, [image])
    return shape_of(found, asked["parameters"], asked["vision_parameters"])


def _reached(
    work: Workload, shape_for: Callable[[tuple[int, int]], Shape], asked: Mapping[str, Any]
) -> Reached:
    """The shares of the devices' figures: as said, or as measured where there are files."""
    said = Reached(
        asked["compute"], asked["bandwidth"], asked["overhead"], prefill_overhead=asked["overhead"]
    )
    runs = [read_measured(path) for path in asked["measurements"]]
    if not runs:
        return said
    shape = shape_for((runs[0].pixels, runs[0].pixels))
    device, bits = find_device(asked["measured_on"]), int(asked["measured_bits"])
    return calibrate(shape, work, device, bits, runs, said)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _print(made: Plan) -> None:
    work, shape, gateway = made.work, made.shape, made.gateway
    click.echo(
        f"{shape.name}: {count_text(shape.parameters)} parameters, {shape.image_tokens} tokens an "
        f"image, {bytes_text(shape.kv_bytes)} of keys and values a token\n"
        f"peak: {work.rate * work.peak:.0f} requests/s, of which {work.computed:.0f} are computed; "
        f"P99 at most {work.slo * 1000:.0f} ms\n"
        f"gateway: {gateway.cores} cores, {bytes_text(round(gateway.received))}/s in, "
        f"{bytes_text(round(gateway.sent))}/s out\n"
    )
    if made.choices:
        print_result(_table(made.choices[:_SHOWN]))
    refused: dict[str, list[str]] = {}
    for one in made.refusals:
        refused.setdefault(one.device, []).append(f"{one.bits} bits: {one.why}")
    for device, reasons in refused.items():
        click.echo(f"not {device}: {'; '.join(reasons)}")


def _table(choices: tuple[Choice, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "device",
        "bits",
        "replicas",
        "batch",
        "used",
        "P99",
        "memory",
        "a million answers",
    ):
        table.add_column(name, justify="left" if name == "device" else "right")
    for one in choices:
        cards = f"{one.cards} x {one.device}" if one.cards > 1 else one.device
        table.add_row(
            cards,
            str(one.bits),
            str(one.replicas),
            str(one.timing.batch),
            f"{one.utilisation:.0%}",
            f"{one.p99 * 1000:.0f} ms",
            bytes_text(one.memory.total),
            "-" if one.cost is None else f"{one.cost:.2f}",
        )
    return table
