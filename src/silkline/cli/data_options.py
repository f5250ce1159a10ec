"""The options of commands that ask a data set: which one, and where the results go."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from silkline.core import Sampling
from silkline.evaluate.columns import FIELDS
from silkline.evaluate.dataset_location import HELD_OUT, find_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.evaluate.metrics.catalogue import METRICS, Metric, choose_metrics

F = TypeVar("F", bound=Callable[..., Any])


def _columns(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, column) in zip(texts, pairs, strict=True):
        if name not in FIELDS or not column:
            known = ", ".join(FIELDS)
            raise click.BadParameter(f"{text} is not FIELD=COLUMN, where FIELD is one of {known}.")
    return {name: column for name, _, column in pairs}


data_columns = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    callback=_columns,
    help="Column of the data set that holds a field: picture, prompt, reference, choices or group.",
)
"""The option that names the columns of a data set."""

_DATA_OPTIONS = (
    click.option(
        "--data",
        metavar="SET",
        help="held-out (default) or combinations, which come with the bundled model; a JSONL, CSV, "
        "TSV or Parquet file, a folder, or hf://datasets/ORG/NAME/FILES in the local cache.",
    ),
    data_columns,
    click.option(
        "--prompt", default="", help="Prompt for all items; {name} is replaced by the field name."
    ),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME",
        help=f"Metric: {', '.join(METRICS)} or field:NAME. The first one decides; by default, "
        "those that fit the data set.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Use only the first items."),
    click.option(
        "--max-tokens",
        default=Sampling().max_tokens,
        show_default=True,
        type=click.IntRange(min=1),
        help="Maximum tokens of an answer.",
    ),
    click.option("--seed", default=0, show_default=True, help="Seed of the resampling."),
)


ASKING = ("data", "columns", "prompt", "metrics", "limit", "max_tokens", "seed")
"""The names of these options."""


def data_options(command: F) -> F:
    """Adds the options that choose the data set, the metrics and the length of the answers."""
    for option in reversed(_DATA_OPTIONS):
        command = option(command)
    return command


def asked_dataset(own: Mapping[str, Any]) -> tuple[Dataset, list[Metric]]:
    """The data set, held-out if none is named, and the metrics that the options of `ASKING` name.

    Raises:
        SilklineError: What `find_set`, `load_dataset` and `choose_metrics` raise.
    """
    location = find_set(own["data"] or HELD_OUT, os.environ)
    dataset = load_dataset(
        location, prompt=own["prompt"], maximum=own["limit"], columns=own["columns"]
    )
    return dataset, choose_metrics(own["metrics"], dataset.items)


def results_folder(default: str, *files: str) -> Callable[[F], F]:
    """The option `--out`: the folder for these files."""
    return click.option(
        "--out",
        default=default,
        show_default=True,
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"Folder for {', '.join(files[:-1])} and {files[-1]}.",
    )
