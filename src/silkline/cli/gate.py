"""`silkline gate`: may a model replace another one?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.cli.data_options import ASKING, asked_dataset, data_options, results_folder
from silkline.cli.evaluate import continued_from, shown_on
from silkline.cli.gate_options import JUDGING, gate_options, load_of, load_shown_on
from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings
from silkline.errors import EXIT
from silkline.models.gate import Verdict
from silkline.observe.logs import configure_logging
from silkline.optimize.gate import FIGURES, PAGE, Gated, GatePlan, OnProgress
from silkline.optimize.gate import gate as run_gate
from silkline.optimize.requirements import parse_requirements
from silkline.optimize.terminal import verdict_lines
from silkline.service.evaluation import JOURNAL
from silkline.service.subject import parse_subject

_OWN = (*JUDGING, *ASKING)
"""The options that are not settings."""


@click.command()
@click.argument("candidate")
@click.option("--against", required=True, metavar="SUBJECT", help="The baseline.")
@gate_options
@data_options
@results_folder("gate-results", PAGE, FIGURES, JOURNAL)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--engine", metavar="NAME", help="Engine that serves the models; chosen if not set.")
@settings_options("limits", "fetch", "decode")
def gate(
    candidate: str, against: str, out: Path, config: Path | None, as_json: bool, **options: Any
) -> None:
    """Judge whether CANDIDATE may replace the baseline --against.

    Both answer the data set, and both are loaded side by side where a requirement is on speed.
    Each requirement is passed, refused, or undecided where too little was measured; the output says
    how many items would do. If CANDIDATE is a bundle, the verdict is written into it, and silkline
    up serves it only if it passed (docs/gate.md). Subjects are written as for silkline evaluate.
    Run the same command again to continue a stopped run.

    Exits with 3 unless every requirement passed, and with 1 if an item got no answer.
    """  # fmt: skip
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    subjects = [
        parse_subject(name, config, options, own["max_tokens"]) for name in (candidate, against)
    ]
    dataset, metrics = asked_dataset(own)
    plan = GatePlan(
        candidate=subjects[0],
        baseline=subjects[1],
        dataset=dataset,
        metrics=metrics,
        requirements=parse_requirements(own["requirements"], metrics),
        confidence=own["confidence"],
        load=load_of(own),
        folder=out,
        seed=own["seed"],
    )
    _run(plan, as_json=as_json)


def _run(plan: GatePlan, *, as_json: bool) -> None:
    """Runs the gate, prints it, and exits with the code of its verdict."""
    with continued_from(plan.folder / JOURNAL), progress_bar(quiet=as_json) as bar:
        progress = OnProgress(shown_on(bar), load_shown_on(bar))
        gated = uvloop.run(run_gate(plan, progress, print_notice))
    if as_json:
        click.echo(msgspec.json.encode(gated))
    else:
        print_result(verdict_lines(gated))
        click.echo(f"\nWrote {plan.folder / PAGE}, {FIGURES} and {JOURNAL}")
        click.echo(_where_recorded(gated))
    if gated.record.verdict is not Verdict.PASSED:
        sys.exit(EXIT.gate_refused)
    if any(result.failures for result in gated.evaluation.results):
        sys.exit(EXIT.failed)


def _where_recorded(gated: Gated) -> str:
    if gated.recorded:
        return f"The verdict is in {gated.recorded}."
    return "The verdict is in no manifest: it is not about a bundle of yours as it would be served."
