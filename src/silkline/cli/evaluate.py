"""`silkline evaluate`: is it still right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import ProgressBar, progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings
from silkline.core import Sampling
from silkline.errors import EXIT, EnvironmentFault
from silkline.evaluate.columns import FIELDS
from silkline.evaluate.dataset_location import HELD_OUT, find_set
from silkline.evaluate.datasets import load_dataset
from silkline.evaluate.metrics.catalogue import METRICS, choose_metrics
from silkline.evaluate.run import Step
from silkline.evaluate.terminal import tables
from silkline.observe.logs import configure_logging
from silkline.service.evaluation import (
    FIGURES,
    JOURNAL,
    PAGE,
    EvaluationPlan,
    OnProgress,
)
from silkline.service.evaluation import evaluate as run_evaluation
from silkline.service.subject import Spelled, parse_subject

_OWN = ("prompt", "limit", "max_tokens", "seed", "as_json", "contract", "reference")
"""The options that are no settings."""

_REFERENCE_NEEDS = frozenset({"numpy", "torch", "transformers"})
"""Libraries of the extra `torch`, which --contract imports."""


def _columns(
    _context: click.Context, _parameter: click.Parameter, said: tuple[str, ...]
) -> dict[str, str]:
    pairs = [text.partition("=") for text in said]
    for text, (name, _, column) in zip(said, pairs, strict=True):
        if name not in FIELDS or not column:
            known = ", ".join(FIELDS)
            raise click.BadParameter(f"{text} is not FIELD=COLUMN with a FIELD of {known}.")
    return {name: column for name, _, column in pairs}


@click.command()
@click.argument("subject")
@click.option("--against", metavar="SUBJECT", help="Another subject: what changes from the first.")
@click.option(
    "--data",
    metavar="SET",
    help="held-out (if not given) or combinations, which come with the bundled model; JSONL, CSV, "
    "TSV, Parquet, a folder, or hf://datasets/ORG/NAME/FILES in the local cache.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    callback=_columns,
    help="Which column of the set is the picture, prompt, reference or choices.",
)
@click.option("--prompt", default="", help="Ask this of all items; {name} stands for a field.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help=f"The first one counts; else those that fit the set. {', '.join(METRICS)} and field:NAME.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first so many items.")
@click.option(
    "--max-tokens",
    default=Sampling().max_tokens,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most tokens of an answer.",
)
@click.option("--seed", default=0, show_default=True, help="Of the resampling.")
@click.option(
    "--out",
    default="evaluation-results",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for {PAGE}, {FIGURES} and {JOURNAL}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--engine", metavar="NAME", help="Which engine serves a model; else the usual one.")
@click.option(
    "--contract",
    is_flag=True,
    help="Ask nothing: compare how the engine reads a pack of pictures with transformers.",
)
@click.option(
    "--reference",
    default="",
    metavar="MODEL",
    help="With --contract: the original model, where SUBJECT has none beside it.",
)
@settings_options("limits", "fetch", "decode")
def evaluate(
    subject: str,
    against: str | None,
    data: str | None,
    columns: dict[str, str],
    metrics: tuple[str, ...],
    out: Path,
    config: Path | None,
    **options: Any,
) -> None:
    """Ask SUBJECT about each item of a data set, and say how right its answers are.

    A SUBJECT is a model, such as silkline-mini, or the URL of an OpenAI-compatible server, with
    options behind it: "silkline-mini max_tokens=32 max_pixels=4096", "http://host:8000
    key_env=KEY". Answers are greedy and never from a cache. Each is kept in a journal as soon as
    it is there: the same command continues a run that was stopped, and asks the failures again.

    The command ends with 1 when an item got no answer. With --contract it takes no data and ends
    with 3 when the engine differs from transformers.
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    _check_mode(own, against=against, data=data, column=columns, metric=metrics)
    if own["contract"]:
        side = parse_subject(subject, config, options, own["max_tokens"])
        if side.max_pixels:
            raise click.UsageError(
                "--contract takes no max_pixels: its pictures come as the engine wants them."
            )
        with _reference_libraries():
            _contract(side, own["reference"], own["limit"], as_json=own["as_json"])
        return
    names = (subject,) if against is None else (subject, against)
    spelled = tuple(parse_subject(name, config, options, own["max_tokens"]) for name in names)
    place = find_set(data or HELD_OUT, os.environ)
    dataset = load_dataset(place, prompt=own["prompt"], maximum=own["limit"], columns=columns)
    plan = EvaluationPlan(
        spelled, dataset, choose_metrics(metrics, dataset.items), out, own["seed"]
    )
    as_json: bool = own["as_json"]
    try:
        with progress_bar(quiet=as_json) as bar:
            evaluation = uvloop.run(run_evaluation(plan, _shown_on(bar), print_notice))
    except KeyboardInterrupt:
        click.echo(f"silkline: stopped; the same command continues from {out / JOURNAL}", err=True)
        sys.exit(EXIT.failed)
    if as_json:
        click.echo(msgspec.json.encode(evaluation))
    else:
        print_result(tables(evaluation))
        click.echo(f"\n{out / PAGE}, {FIGURES} and {JOURNAL} beside it")
    if any(result.failures for result in evaluation.results):
        sys.exit(EXIT.failed)


def _check_mode(own: dict[str, Any], **of_a_set: object) -> None:
    """Raises `click.UsageError` for an option that would be passed over."""
    if not own["contract"]:
        if own["reference"]:
            raise click.UsageError("--reference goes with --contract.")
        return
    given = [name for name, value in {**of_a_set, "prompt": own["prompt"]}.items() if value]
    if given:
        raise click.UsageError(
            f"--contract takes no --{given[0]}: it has pictures and questions of its own."
        )


@contextmanager
def _reference_libraries() -> Iterator[None]:
    """Names the command that installs what --contract compares with."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REFERENCE_NEEDS:
            raise
        raise EnvironmentFault(
            f"The contract compares with transformers, but {error.name} is not installed.",
            remedy="pip install 'silkline[torch]'",
        ) from error


def _contract(spelled: Spelled, reference: str, maximum: int | None, *, as_json: bool) -> None:
    """Compares with transformers; ends the command with 3 where the engine differs."""
    from silkline.evaluate.contract.terminal import contract_table  # noqa: PLC0415
    from silkline.service.contract import Wanted, check_contract  # noqa: PLC0415 - needs an extra

    with progress_bar(quiet=as_json) as bar:
        bar.show("loading both", 0, 1)
        wanted = Wanted(spelled, reference, maximum)
        compared = check_contract(
            wanted, lambda done, total: bar.show("comparing", done, total), print_notice
        )
        found = uvloop.run(compared)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_result(contract_table(found))
    if not found.holds:
        sys.exit(EXIT.gate_refused)


def _shown_on(bar: ProgressBar) -> OnProgress:
    """Shows how far a run is, how fast it goes, and how many requests failed."""

    def on_progress(what: str, step: Step) -> None:
        rate = bar.rate(step.done - step.known)
        detail = f"{step.done} of {step.total}, {rate:.1f}/s, {step.failed} failed"
        bar.show(what, step.done, step.total, detail)

    return on_progress
