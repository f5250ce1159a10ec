"""`silkline batch`: answers a question about each image of a folder, a table or an archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.batch.folder_job import (
    FIGURES,
    JOURNAL,
    PAGE,
    FolderPlan,
    OnProgress,
    run_folder_job,
)
from silkline.batch.inputs import Asking, open_input
from silkline.batch.item import Counts
from silkline.batch.output import FORMATS
from silkline.cli.data_options import data_columns
from silkline.cli.evaluate import continued_from
from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import ProgressBar, progress_bar
from silkline.cli.settings_options import ray_options, settings_options
from silkline.config import LogSettings
from silkline.core import Sampling
from silkline.errors import EXIT
from silkline.models.resolve import BUNDLED_MODEL
from silkline.observe.logs import configure_logging
from silkline.report.terminal import table
from silkline.service.subject import parse_subject

_PROMPT = "Describe this image."
_OWN = ("prompt", "url", "subject", "answers", "max_tokens", "as_json")


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--prompt",
    default="",
    help="Prompt for all items; in tables, {name} is replaced by that column. By default a table's "
    f'own prompts, else "{_PROMPT}"',
)
@click.option(
    "--model",
    "subject",
    default=BUNDLED_MODEL,
    show_default=True,
    metavar="SUBJECT",
    help="The model, with options as in `silkline evaluate`.",
)
@click.option(
    "--url", metavar="URL", help="Ask a running server instead: its URL, with options as there."
)
@click.option(
    "--format",
    "answers",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="Format of the answers.",
)
@data_columns
@click.option(
    "--max-tokens",
    default=Sampling().max_tokens,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum tokens of an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--engine", metavar="NAME", help="Engine that serves the model; chosen if not set.")
@click.option("--workers", type=click.IntRange(1, 64), help="Workers; each loads the model.")
@ray_options
@settings_options("limits", "fetch", "decode")
def batch(
    source: str, out: Path, columns: dict[str, str], config: Path | None, **options: Any
) -> None:
    """Ask a model about each image of IN, and write the answers into the folder OUT.

    IN is a folder of images, a JSONL, CSV, TSV or Parquet file, a WebDataset archive (.tar), or
    s3://bucket/prefix. Images with the same bytes are asked about once. Each answer is saved to a
    journal: run the same command again to continue a stopped run and to retry items whose error
    may pass.

    Exits with 1 if an item got no answer.
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    text = own["url"] or own["subject"]
    subject = parse_subject(text, config, options, own["max_tokens"])
    is_table = Path(source).suffix.lower() in {".jsonl", ".csv", ".tsv", ".parquet"}
    prompt = own["prompt"] or ("" if is_table else _PROMPT)
    asking = Asking(prompt, columns, subject.settings.limits.max_image_bytes)
    about = {
        "input": source if "://" in source else str(Path(source).resolve()),
        "prompt": prompt,
        "columns": msgspec.json.encode(columns).decode(),
        "subject": text,
        "max_tokens": str(own["max_tokens"]),
    }
    plan = FolderPlan(open_input(source, asking), subject, out, own["answers"], about)
    as_json: bool = own["as_json"]
    with continued_from(out / JOURNAL), progress_bar(quiet=as_json) as bar:
        figures, answers = uvloop.run(run_folder_job(plan, _shown_on(bar), print_notice))
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        rows = [
            ("answered", f"{figures.answered:,}"),
            ("failed", f"{figures.failed:,}"),
            *((f"  {code}", f"{count:,}") for code, count in figures.errors.items()),
            ("duplicates", f"{figures.duplicates:,}"),
            ("asked", f"{figures.asked:,}"),
            ("known before", f"{figures.known:,}"),
            ("items/s", f"{figures.per_second:,.1f}"),
        ]
        print_result(table(f"{figures.items:,} items", "", rows=rows))
        click.echo(f"\nWrote {answers}, {PAGE}, {FIGURES} and {JOURNAL}")
    if figures.answered < figures.items:
        sys.exit(EXIT.failed)


def _shown_on(bar: ProgressBar) -> OnProgress:
    def on_progress(counts: Counts, total: int) -> None:
        done = counts.answered + counts.failed
        rate = bar.rate(done - counts.known)
        detail = f"{done:,} of {total:,}, {rate:,.1f}/s, {counts.failed:,} failed"
        bar.show("asking", done, total, detail)

    return on_progress
