"""`silkline optimize`: make a bundle smaller or faster."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.table import Table

from silkline.cli.data_options import data_columns
from silkline.cli.printing import print_result
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings, settings_from
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.models.bundle import Bundle
from silkline.models.resolve import locate_model
from silkline.observe.logs import configure_logging
from silkline.optimize.optimisation import optimisations
from silkline.optimize.optimize import OptimizePlan
from silkline.optimize.optimize import optimize as run_optimize

_IMAGES = 128


@click.command()
@click.argument("model")
@click.option(
    "--apply",
    "names",
    multiple=True,
    metavar="NAME",
    help="An optimisation; may be repeated, and they are applied in this order. Without it, the "
    "optimisations are listed.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the new bundle; it must not exist.",
)
@click.option("--data", metavar="SET", help="Set with the calibration images, as for evaluate.")
@data_columns
@click.option(
    "--images",
    "count",
    default=_IMAGES,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=8),
    help="Number of calibration images.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draw of the images.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@settings_options("limits", "fetch", "decode")
def optimize(
    model: str, names: tuple[str, ...], out: Path | None, config: Path | None, **options: Any
) -> None:
    """Apply optimisations to the bundle MODEL and write a new bundle.

    Calibration images are drawn from --data with coverage over its slices, and recorded: silkline
    gate leaves them out. The new bundle is served once its gate passed (docs/optimize.md).
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in ("data", "columns", "count", "seed", "as_json")}
    settings = settings_from(config, {**options, "model": model})
    if not names:
        _list(model, as_json=own["as_json"])
        return
    if out is None:
        raise click.UsageError("--apply needs --out, the folder of the new bundle.")
    plan = OptimizePlan(settings, names, out, _dataset(own), own["count"], own["seed"])
    with progress_bar(quiet=own["as_json"]) as bar:
        built = uvloop.run(run_optimize(plan, lambda stage: bar.show(stage, 0, 1)))
    _print(built, model, own)


def _dataset(own: dict[str, Any]) -> Dataset | None:
    if own["data"] is None:
        return None
    location = find_set(own["data"], os.environ)
    # only the images matter, so rows need no prompt
    return load_dataset(location, prompt="-", columns=own["columns"])


def _list(model: str, *, as_json: bool) -> None:
    """Prints each optimisation, and why it does not apply to the model."""
    bundle = locate_model(model, os.environ).bundle
    why = "it is not a bundle"
    found = [
        (each.name, each.about, why if bundle is None else each.why_not(bundle))
        for each in optimisations()
    ]
    if as_json:
        rows = [{"name": name, "about": about, "why_not": not_} for name, about, not_ in found]
        click.echo(msgspec.json.encode(rows))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("optimisation", "what it does", f"applies to {model}"):
        table.add_column(head)
    for name, about, not_ in found:
        table.add_row(name, about, f"no: {not_}" if not_ else "yes")
    print_result(table)


def _print(built: Bundle, model: str, own: dict[str, Any]) -> None:
    manifest = built.manifest
    if own["as_json"]:
        found = {
            "folder": str(built.folder),
            "model": built.label,
            "optimized_from": manifest.optimized_from,
            "engines": manifest.engines,
            "calibration_images": len(manifest.calibration.images) if manifest.calibration else 0,
        }
        click.echo(msgspec.json.encode(found))
        return
    data = f" --data {shlex.quote(own['data'])}" if own["data"] else ""
    click.echo(
        f"Wrote {built.folder}: {built.label}, optimised from {manifest.optimized_from}.\n"
        "It is served once its gate passed:\n\n"
        f"  silkline gate {shlex.quote(str(built.folder))} --against {shlex.quote(model)}{data} "
        '--require "accuracy_drop<=0.5pt" --require "throughput>=1x"\n'
    )
