"""`silkline review`: write the review of a month."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from silkline.config import settings_from
from silkline.errors import EnvironmentFault
from silkline.review.page import file_name, page
from silkline.review.records import Month, Sources
from silkline.review.review import review_month

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _month(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Month:
    if text is None:
        now = datetime.now(UTC)
        return Month(now.year, now.month)
    try:
        return Month.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no month. Expected one such as 2026-11.") from error


@click.command()
@click.option("--month", callback=_month, metavar="YYYY-MM", help="The month; by default this one.")
@click.option("--history", type=_FILE, help="File of the request history; by default history_file.")
@click.option(
    "--experiments", type=_FILE, help="Journal of experiments; by default experiment_file."
)
@click.option(
    "--drift", type=_FILE, help="Journal of drift and the canary set; by default drift_journal."
)
@click.option("--log", "logs", multiple=True, type=_FILE, help="File of log lines in JSON.")
@click.option("--prometheus", default="", metavar="URL", help="A Prometheus to ask, too.")
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the page."
)
@click.option(
    "--config",
    type=_FILE,
    help="Settings file; by default silkline.toml in the working folder, if it exists.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def review(month: Month, config: Path | None, out: Path | None, as_json: bool, **own: Any) -> None:
    """Write one page about a month: what was answered, what it cost, and what to do next.

    It reads the files that a server has written, and needs no running server; see docs/review.md.
    """
    settings = settings_from(config, {})
    sources = Sources.of(settings, own["logs"], own["prometheus"])
    named = {name: own[name] for name in ("history", "experiments", "drift") if own[name]}
    found = asyncio.run(review_month(month, replace(sources, **named), settings))
    path = out or Path(file_name(month))
    try:
        path.write_text(page(found), encoding="utf-8", errors="replace")
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from error
    if as_json:
        click.echo(msgspec.json.encode(found.figures))
        return
    for one in found.actions:
        click.echo(f"{one.title}\n    {one.gain}")
    click.echo(f"\nWrote {path}: {found.figures.questions:,} questions of {month}.")
