"""`silkline baseline`: take the baseline that live traffic is compared with."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.cli.admin_api import admin_options
from silkline.cli.data_options import data_columns
from silkline.cli.printing import print_result
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings, settings_from
from silkline.drift.baseline import ModelBaseline, take_baseline, write_baseline
from silkline.drift.features import Observed
from silkline.drift.taking import OnCount, from_history, from_items
from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import load_dataset
from silkline.models.printable import printable
from silkline.observe.logs import configure_logging
from silkline.service.subject import parse_subject
from silkline.ship.admin import call

_OWN = ("url", "key_env", "model", "since", "data", "columns", "prompt", "limit", "max_tokens")
_OF_TEXT = ("refusal", "vocabulary")


@click.command()
@admin_options
@click.option(
    "-o",
    "--out",
    default="baseline.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the baseline; baselines of other models in it stay.",
)
@click.option("--model", metavar="NAME", help="Only this model's; by default each model's.")
@click.option(
    "--since", default="7d", show_default=True, help="How far back the request history is read."
)
@click.option("--data", metavar="SET", help="Ask the server this data set instead.")
@data_columns
@click.option(
    "--prompt", default="", help="Prompt for all items; {name} is replaced by the field name."
)
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first items.")
@click.option(
    "--max-tokens",
    default=256,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum tokens of an answer to an item.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the baselines as JSON.")
@settings_options("limits", "fetch", "decode")
def baseline(out: Path, as_json: bool, config: Path | None, **options: Any) -> None:
    """Take the baseline of a running server's traffic and answers.

    By default of its request history. With --data, the server answers a data set, and the images
    are looked at here. Then set drift_baseline in [drift]; see docs/drift.md.
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    settings = settings_from(config, options)
    with progress_bar(quiet=as_json) as bar:
        if own["data"] is None:
            source = f"the request history since {own['since']}"
            found = asyncio.run(_of_history(own, partial(bar.show, "reading answers")))
        else:
            source = f"the data set {own['data']}"
            found = _of_data(own, config, options, partial(bar.show, "asking"))
    taken = _taken(found, own["model"], source, settings.drift.drift_min_requests)
    for name, one in taken.items():
        write_baseline(out, name, one)
    if as_json:
        click.echo(msgspec.json.encode(taken))
    else:
        print_result(_described(taken))
        click.echo(f"\nWrote {out}. Name it in drift_baseline, in [drift], and start the server.")


async def _of_history(own: dict[str, Any], on_count: OnCount) -> dict[str, list[Observed]]:
    get = partial(call, own["url"], own["key_env"])
    return await from_history(get, own["since"], on_count)


def _of_data(
    own: dict[str, Any], config: Path | None, options: dict[str, Any], on_count: OnCount
) -> dict[str, list[Observed]]:
    location = find_set(own["data"], os.environ)
    dataset = load_dataset(
        location, prompt=own["prompt"], maximum=own["limit"], columns=own["columns"]
    )
    words = [own["url"]]
    if os.environ.get(own["key_env"]):
        words.append(f"key_env={own['key_env']}")
    if own["model"]:
        words.append(f"model={own['model']}")
    spec = parse_subject(" ".join(words), config, options, own["max_tokens"])
    name, seen = uvloop.run(from_items(dataset.items, spec, on_count))
    return {name: seen}


def _taken(
    found: dict[str, list[Observed]], model: str | None, source: str, part_requests: int
) -> dict[str, ModelBaseline]:
    wanted = {model: found.get(model, [])} if model else found
    if not wanted:
        raise ConfigError(
            f"There are no computed answers in {source}. Wait for traffic, or name a data set "
            "with --data."
        )
    return {
        name: take_baseline(
            seen, source=f"{source} ({name})", at=time.time(), part_requests=part_requests
        )
        for name, seen in wanted.items()
    }


def _described(taken: dict[str, ModelBaseline]) -> RenderableType:
    parts: list[RenderableType] = []
    for name, one in taken.items():
        parts.append(Text(printable(f"{name}: {one.requests:,} computed answers")))
        table = Table(box=None, pad_edge=False)
        table.add_column("feature")
        for heading in ("values", "bins", "spread"):
            table.add_column(heading, justify="right")
        for feature, found in one.features.items():
            table.add_row(
                Text(printable(feature)),
                f"{sum(found.counts):,}",
                str(len(found.counts)),
                f"{found.spread:.3f}",
            )
        parts.append(table)
        if not one.features.keys() & set(_OF_TEXT):
            parts.append(
                Text(
                    f"Without {', '.join(_OF_TEXT)} and fields: the history keeps too few answers. "
                    "Set history_content, or use --data."
                )
            )
    return Group(*parts)
