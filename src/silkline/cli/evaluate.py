"""`silkline evaluate`: measure the quality of a model's answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.cli.data_options import asked_dataset, data_options, results_folder
from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import ProgressBar, progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings
from silkline.errors import EXIT, EnvironmentFault
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
from silkline.service.subject import SubjectSpec, parse_subject

_OWN = ("prompt", "limit", "max_tokens", "seed", "as_json", "contract", "reference")
"""The options that are not settings."""

_REFERENCE_NEEDS = frozenset({"numpy", "torch", "transformers"})
"""Libraries of the extra `torch` that --contract imports."""


@click.command()
@click.argument("subject")
@click.option("--against", metavar="SUBJECT", help="A second subject, to compare with the first.")
@data_options
@results_folder("evaluation-results", PAGE, FIGURES, JOURNAL)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--engine", metavar="NAME", help="Engine that serves the model; chosen if not set.")
@click.option(
    "--contract",
    is_flag=True,
    help="Do not ask: check that the engine processes a set of images as transformers does.",
)
@click.option(
    "--reference",
    default="",
    metavar="MODEL",
    help="With --contract: the original model, if SUBJECT does not include it.",
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
    """Ask SUBJECT about each item of a data set and score its answers.

    A SUBJECT is a model, such as silkline-mini, or the URL of an OpenAI-compatible server, followed
    by options: "silkline-mini max_tokens=32 max_pixels=4096", "http://host:8000 key_env=KEY".
    Decoding is greedy and no answer comes from a cache. Each answer is saved to a journal at once:
    run the same command again to continue a stopped run and to retry failed items.

    Exits with 1 if an item got no answer. With --contract, no data set is used, and the command
    exits with 3 if the engine differs from transformers.
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    _check_mode(own, against=against, data=data, column=columns, metric=metrics)
    if own["contract"]:
        side = parse_subject(subject, config, options, own["max_tokens"])
        if side.max_pixels:
            raise click.UsageError(
                "--contract takes no max_pixels: it uses the image sizes that the engine asks for."
            )
        with _reference_libraries():
            _contract(side, own["reference"], own["limit"], as_json=own["as_json"])
        return
    names = (subject,) if against is None else (subject, against)
    subjects = tuple(parse_subject(name, config, options, own["max_tokens"]) for name in names)
    asked = {**own, "data": data, "columns": columns, "metrics": metrics}
    dataset, chosen = asked_dataset(asked)
    plan = EvaluationPlan(subjects, dataset, chosen, out, own["seed"])
    as_json: bool = own["as_json"]
    with continued_from(out / JOURNAL), progress_bar(quiet=as_json) as bar:
        evaluation = uvloop.run(run_evaluation(plan, shown_on(bar), print_notice))
    if as_json:
        click.echo(msgspec.json.encode(evaluation))
    else:
        print_result(tables(evaluation))
        click.echo(f"\nWrote {out / PAGE}, {FIGURES} and {JOURNAL}")
    if any(result.failures for result in evaluation.results):
        sys.exit(EXIT.failed)


def _check_mode(own: dict[str, Any], **of_a_set: object) -> None:
    """Raises `click.UsageError` for an option that would be ignored."""
    if not own["contract"]:
        if own["reference"]:
            raise click.UsageError("--reference needs --contract.")
        return
    extra = [name for name, value in {**of_a_set, "prompt": own["prompt"]}.items() if value]
    if extra:
        raise click.UsageError(
            f"--contract takes no --{extra[0]}: it has its own images and questions."
        )


@contextmanager
def _reference_libraries() -> Iterator[None]:
    """Raises `EnvironmentFault` with the install command if a reference library is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REFERENCE_NEEDS:
            raise
        raise EnvironmentFault(
            f"--contract needs transformers, but {error.name} is not installed.",
            remedy="pip install 'silkline[torch]'",
        ) from error


def _contract(subject: SubjectSpec, reference: str, maximum: int | None, *, as_json: bool) -> None:
    """Compares the engine with transformers; exits with 3 if it differs."""
    from silkline.evaluate.contract.terminal import contract_table  # noqa: PLC0415
    from silkline.service.contract import ContractPlan, check_contract  # noqa: PLC0415 - needs an extra

    with progress_bar(quiet=as_json) as bar:
        bar.show("loading both", 0, 1)
        plan = ContractPlan(subject, reference, maximum)
        compared = check_contract(
            plan, lambda done, total: bar.show("comparing", done, total), print_notice
        )
        found = uvloop.run(compared)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_result(contract_table(found))
    if not found.holds:
        sys.exit(EXIT.gate_refused)


@contextmanager
def continued_from(journal: Path) -> Iterator[None]:
    """Ends the command at Ctrl-C, and says that the same command continues from the journal."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"silkline: stopped; run the same command again to continue from {journal}", err=True
        )
        sys.exit(EXIT.failed)


def shown_on(bar: ProgressBar) -> OnProgress:
    """Returns a callback that shows a run's progress, rate and failed requests."""

    def on_progress(activity: str, step: Step) -> None:
        rate = bar.rate(step.done - step.known)
        detail = f"{step.done} of {step.total}, {rate:.1f}/s, {step.failed} failed"
        bar.show(activity, step.done, step.total, detail)

    return on_progress
