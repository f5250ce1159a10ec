"""`silkline optimize`: make a bundle smaller or faster."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.table import Table

from silkline.bench.option_types import parse_seconds
from silkline.cli.data_options import ASKING, asked_dataset, data_options
from silkline.cli.evaluate import continued_from
from silkline.cli.gate_options import JUDGING, gate_options, load_of
from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings, settings_from
from silkline.errors import EXIT
from silkline.models.bundle import Bundle
from silkline.models.resolve import locate_model
from silkline.observe.logs import configure_logging
from silkline.optimize.optimisation import optimisations
from silkline.optimize.optimize import OptimizePlan
from silkline.optimize.optimize import optimize as run_optimize
from silkline.optimize.requirements import usual_requirements
from silkline.optimize.search.plan import JOURNAL, PAGE, SearchPlan
from silkline.optimize.search.search import search
from silkline.optimize.search.terminal import search_lines
from silkline.service.subject import parse_subject

_IMAGES = 128
_BUDGET = 900.0
_TARGET = "optimized"
_WORK = ".search"
"""What the folder of a search is named by, after that of its bundle."""

_OWN = ("count", "budget", "as_json", *JUDGING, *ASKING)
"""The options that are not settings."""


@click.command()
@click.argument("model")
@click.option(
    "--apply",
    "names",
    multiple=True,
    metavar="NAME",
    help="Apply this optimisation instead of searching; may be repeated, and they are applied in "
    "this order.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the new bundle; it must not exist. By default, a search writes optimized.",
)
@click.option(
    "--budget",
    type=parse_seconds,
    metavar="TIME",
    help="How long to search, such as 15m (default) or 2h.",
)
@gate_options
@data_options
@click.option(
    "--images",
    "count",
    default=_IMAGES,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=8),
    help="Number of calibration images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--engine", metavar="NAME", help="Engine that serves the model; chosen if not set.")
@settings_options("limits", "fetch", "decode")
def optimize(
    model: str, names: tuple[str, ...], out: Path | None, config: Path | None, **options: Any
) -> None:
    """Find the fastest bundle of MODEL that keeps the quality, on this machine and your data.

    With --data, tries optimisations and combinations of them, judges the best ones on items that
    were not used for picking, and writes the fastest that passed: with its proof, a report, and a
    gate that silkline up accepts. The requirements are those of silkline gate; by default
    accuracy_drop<=0.5pt and throughput>=1x. Run the same command again to continue a stopped
    search. Exits with 3 if nothing passed.

    With --apply, applies these optimisations and measures nothing: the new bundle is served once
    its gate passed. Without --data and --apply, lists what there is (docs/optimize.md).
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    if names:
        _apply(model, names, out, own, settings=(config, options))
    elif own["data"] is not None:
        _search(model, out or Path(_TARGET), own, settings=(config, options))
    elif own["budget"] is not None:
        raise click.UsageError("--budget needs --data, the items to search with.")
    else:
        _list(model, as_json=own["as_json"])


_Settings = tuple[Path | None, dict[str, Any]]
"""The settings file and the flags of settings."""


def _apply(
    model: str, names: tuple[str, ...], out: Path | None, own: dict[str, Any], settings: _Settings
) -> None:
    """Applies optimisations by name."""
    if out is None:
        raise click.UsageError("--apply needs --out, the folder of the new bundle.")
    config, flags = settings
    found = settings_from(config, {**flags, "model": model})
    known = {each.name: each for each in optimisations()}
    if not any(known[name].needs_samples for name in names if name in known):
        own = {**own, "prompt": "-"}  # only the images matter, so rows need no prompt
    dataset = None if own["data"] is None else asked_dataset(own)[0]
    plan = OptimizePlan(found, names, out, dataset, own["count"], own["seed"])
    with progress_bar(quiet=own["as_json"]) as bar:
        built = uvloop.run(run_optimize(plan, lambda stage: bar.show(stage, 0, 1)))
    _print(built, model, own)


def _search(model: str, out: Path, own: dict[str, Any], settings: _Settings) -> None:
    """Searches; exits with 3 if no candidate passed."""
    dataset, metrics = asked_dataset(own)
    plan = SearchPlan(
        subject=parse_subject(model, *settings, own["max_tokens"]),
        dataset=dataset,
        metrics=metrics,
        requirements=usual_requirements(own["requirements"], metrics, no_slower=True),
        confidence=own["confidence"],
        load=load_of(own),
        budget=own["budget"] or _BUDGET,
        images=own["count"],
        seed=own["seed"],
        target=out,
        folder=out.with_name(f"{out.name}{_WORK}"),
        command=shlex.join(["silkline", *sys.argv[1:]]),
    )
    as_json: bool = own["as_json"]
    with continued_from(plan.folder / JOURNAL), progress_bar(quiet=as_json) as bar:
        found = uvloop.run(search(plan, bar.show, print_notice))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_result(search_lines(found))
        click.echo(f"\nThe report is {plan.folder / PAGE}.")
    if found.picked is None:
        sys.exit(EXIT.gate_refused)


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


def _print(built: Bundle, model: str, own: Mapping[str, Any]) -> None:
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
