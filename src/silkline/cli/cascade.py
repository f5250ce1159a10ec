"""`silkline cascade`: a small model that is asked first, a large one where it is unsure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.cli.data_options import ASKING, asked_dataset, data_options, results_folder
from silkline.cli.evaluate import continued_from, shown_on
from silkline.cli.printing import print_notice
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings
from silkline.distil.cascade import FIGURES, PAGE, CascadeFit, CascadePlan, fit_cascade
from silkline.observe.logs import configure_logging
from silkline.service.evaluation import JOURNAL
from silkline.service.subject import parse_subject


@click.group()
def cascade() -> None:
    """Serve a small model first, and a large one where the small one is unsure."""


@cascade.command()
@click.argument("small")
@click.argument("large")
@click.option(
    "--keep",
    default=0.99,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of LARGE's score to keep.",
)
@click.option(
    "--confidence",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.5, 0.999),
    help="Of the test that it is kept.",
)
@data_options
@results_folder("cascade-results", PAGE, FIGURES, JOURNAL)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--engine", metavar="NAME", help="Engine that serves the models; chosen if not set.")
@settings_options("limits", "fetch", "decode")
def fit(
    small: str,
    large: str,
    keep: float,
    confidence: float,
    out: Path,
    config: Path | None,
    **options: Any,
) -> None:
    """Fit the threshold below which LARGE answers in place of SMALL.

    SMALL and LARGE are subjects as for silkline evaluate. Neither may have been trained on the data
    set. Without references, the score is the agreement with LARGE.
    """
    configure_logging(LogSettings(log_level="warning"))
    as_json: bool = options.pop("as_json")
    own = {name: options.pop(name) for name in ASKING}
    first, second = (
        parse_subject(name, config, options, own["max_tokens"]) for name in (small, large)
    )
    dataset, metrics = asked_dataset(own)
    plan = CascadePlan(first, second, dataset, metrics, out, keep, confidence)
    with continued_from(out / JOURNAL), progress_bar(quiet=as_json) as bar:
        found = uvloop.run(fit_cascade(plan, shown_on(bar), print_notice))
    click.echo(msgspec.json.encode(found) if as_json else _told(found, out))


def _told(found: CascadeFit, out: Path) -> str:
    fitted, chosen = found.fitted, found.fitted.chosen
    return (
        f"{found.small}: {fitted.small:.2%}, {found.large}: {fitted.large:.2%} ({found.metric}).\n"
        f"Where a token is less likely than {chosen.threshold:.4f}, the large model is asked: "
        f"{chosen.escalated:.1%} of the questions.\n"
        f"The cascade has {chosen.quality:.2%}, at least {chosen.low:.2%} with "
        f"{fitted.confidence:.0%} confidence, in {found.compute:.0%} of the large model's engine "
        "time. In silkline.toml:\n\n"
        "  [models.NAME]\n"
        '  cascade = ["SMALL", "LARGE"]  # the names of their tables\n'
        f"  escalate_below = {chosen.threshold!r}\n\n"
        f"Wrote {out / PAGE}, {FIGURES} and {JOURNAL}"
    )
