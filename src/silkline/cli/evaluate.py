"""`silkline evaluate`: is it still right."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from silkline.cli.asking import Spelled, open_subject, parse_subject, source_of
from silkline.cli.local_gateway import create_intake
from silkline.cli.printing import print_result, progress_console
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings
from silkline.core import Sampling
from silkline.engines.base import PixelBudget
from silkline.errors import EXIT, EnvironmentFault, SilklineError
from silkline.evaluate.columns import FIELDS
from silkline.evaluate.compare import compare, differing, worst
from silkline.evaluate.dataset_location import HELD_OUT, find_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.metrics.catalogue import METRICS, Metric, choose_metrics
from silkline.evaluate.report.page import SHOWN, Case, write_page
from silkline.evaluate.report.pictures import THUMBNAIL_PIXELS, data_url
from silkline.evaluate.results import Comparison, Evaluation, Result, Scores
from silkline.evaluate.run import Step, run_items
from silkline.evaluate.subject import Subject
from silkline.evaluate.summary import score_replies, summarise
from silkline.evaluate.terminal import tables
from silkline.ingress.intake import Intake
from silkline.observe.logs import configure_logging

JOURNAL, FIGURES, PAGE = "answers.jsonl", "evaluation.json", "report.html"
_OWN = ("prompt", "limit", "max_tokens", "seed", "as_json", "contract", "reference")
"""The options that are no settings."""

_REFERENCE_NEEDS = frozenset({"numpy", "torch", "transformers"})
"""Libraries of the extra `torch`, which --contract imports."""

Watch = Callable[[str, Step], None]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done."""

    subjects: tuple[Spelled, ...]
    dataset: Dataset
    metrics: Sequence[Metric]
    folder: Path
    seed: int


@dataclass(frozen=True, slots=True)
class _Side:
    """What one subject answered, and how right that is."""

    replies: Sequence[Reply]
    scores: Scores
    result: Result


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
    dataset = load_dataset(place, prompt=own["prompt"], most=own["limit"], columns=columns)
    plan = _Plan(spelled, dataset, choose_metrics(metrics, dataset.items), out, own["seed"])
    as_json: bool = own["as_json"]
    try:
        with _shown(quiet=as_json) as watch:
            evaluation = uvloop.run(_evaluate(plan, watch))
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


def _contract(spelled: Spelled, reference: str, most: int | None, *, as_json: bool) -> None:
    """Compares with transformers; ends the command with 3 where the engine differs."""
    from silkline.cli.contract import Wanted, check_contract  # noqa: PLC0415 - needs an extra
    from silkline.evaluate.contract.terminal import contract_table  # noqa: PLC0415

    with _shown(quiet=as_json) as watch:
        watch("loading both", Step(0, 0, 0, 0))
        wanted = Wanted(spelled, reference, most)
        compared = check_contract(
            wanted, lambda done, total: watch("comparing", Step(total, done, 0, 0))
        )
        found = uvloop.run(compared)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_result(contract_table(found))
    if not found.holds:
        sys.exit(EXIT.gate_refused)


async def _evaluate(plan: _Plan, watch: Watch) -> Evaluation:
    """Asks, compares and writes the files."""
    sides: list[_Side] = []
    asked: list[Subject] = []
    items = plan.dataset.items
    async with create_intake(plan.subjects[0].settings) as intake:
        with Journal(plan.folder / JOURNAL) as journal:
            for name, spelled in zip("AB", plan.subjects, strict=False):
                watch(f"starting {name}", Step(len(items), 0, 0, 0))
                side = await _ask(plan, spelled, intake, journal, asked, _named(watch, name))
                sides.append(side)
                asked.append(side.result.subject)
        evaluation = Evaluation(
            dataset=plan.dataset.name,
            digest=plan.dataset.digest,
            items=len(items),
            seed=plan.seed,
            results=[side.result for side in sides],
            comparison=_compared(plan, sides),
            duplicates=plan.dataset.duplicates,
        )
        cases = await _cases(plan, sides, intake)
    _write(evaluation, cases, plan.folder)
    return evaluation


def _write(evaluation: Evaluation, cases: Sequence[Case], folder: Path) -> None:
    figures = msgspec.json.format(msgspec.json.encode(evaluation), indent=1)
    try:
        (folder / FIGURES).write_bytes(figures + b"\n")
        write_page(evaluation, cases, folder / PAGE)
    except OSError as error:
        raise EnvironmentFault(
            f"The results cannot be written into {folder}: {error.strerror}. Every answer is kept: "
            "make room, then run the same command again."
        ) from error


async def _ask(
    plan: _Plan,
    spelled: Spelled,
    intake: Intake,
    journal: Journal,
    before: Sequence[Subject],
    watch: Callable[[Step], None],
) -> _Side:
    items = plan.dataset.items
    settings = spelled.settings
    at_once = min(settings.engine.max_batch, settings.admission.max_queue)
    async with open_subject(spelled, intake) as asker:
        subject = asker.subject(0)
        same = sum(one.fingerprint == subject.fingerprint for one in before)
        subject = asker.subject(same)
        replies = await run_items(items, subject, asker, journal, at_once, watch)
    scores = score_replies(items, replies, plan.metrics)
    return _Side(replies, scores, summarise(subject, replies, plan.metrics, scores, plan.seed))


def _compared(plan: _Plan, sides: Sequence[_Side]) -> Comparison | None:
    if len(sides) == 1:
        return None
    first, second = sides
    return compare(
        plan.dataset.items,
        (first.replies, second.replies),
        plan.metrics,
        (first.scores, second.scores),
        plan.seed,
    )


async def _cases(plan: _Plan, sides: Sequence[_Side], intake: Intake) -> list[Case]:
    """The items that the report shows, with their pictures."""
    cases = []
    for place in _shown_places(plan, sides):
        item = plan.dataset.items[place]
        cases.append(
            Case(
                item=item,
                replies=tuple(side.replies[place] for side in sides),
                picture=await _thumbnail(item, intake, plan.subjects[0]),
            )
        )
    return cases


def _shown_places(plan: _Plan, sides: Sequence[_Side]) -> list[int]:
    items = plan.dataset.items
    if len(sides) == 1:
        perfect = {metric.name: [metric.highest] * len(items) for metric in plan.metrics}
        return worst(items, plan.metrics, (perfect, sides[0].scores), SHOWN)
    first, second = sides
    if not plan.metrics:
        return differing(items, (first.replies, second.replies), SHOWN)
    return worst(items, plan.metrics, (first.scores, second.scores), SHOWN)


async def _thumbnail(item: Item, intake: Intake, spelled: Spelled) -> str:
    """The picture as a data URL; empty where it cannot be had."""
    try:
        source = source_of(item.picture, spelled.settings.limits.max_image_bytes)
        taken = await intake.take((source,), PixelBudget(max_pixels=THUMBNAIL_PIXELS), b"")
    except SilklineError:
        return ""  # its reply says why
    return data_url(taken.images[0])


def _named(watch: Watch, name: str) -> Callable[[Step], None]:
    return lambda step: watch(f"asking {name}", step)


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Watch]:
    """A line that moves: how far, how fast, how many failed, how long still."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}, {task.fields[rate]:.1f}/s,"),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    console = progress_console(quiet=quiet)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=0, rate=0.0, failed=0)
        shown = ""

        def watch(what: str, step: Step) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                progress.reset(task, description=what, rate=0.0, failed=0)
            taken = progress.tasks[0].elapsed or 0.0
            new = step.done - step.known
            progress.update(
                task,
                total=step.total,
                completed=step.done,
                failed=step.failed,
                rate=new / taken if taken else 0.0,
            )

        yield watch
