"""The options of commands that judge: what must hold, and the load of requirements on speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from silkline.bench.option_types import parse_seconds
from silkline.bench.session import Step
from silkline.bench.wire import Warm
from silkline.cli.progress import ProgressBar
from silkline.optimize.load import Load

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--require",
        "requirements",
        multiple=True,
        metavar="REQUIREMENT",
        help="What must hold, such as accuracy_drop<=0.5pt, accuracy>=95%, agreement>=99%, "
        "p99<=420ms, first_token_p50<=0.8x, throughput>=1.3x, size<=0.3x or memory<=2GiB; may be "
        "repeated.",
    ),
    click.option(
        "--confidence",
        default=0.95,
        show_default=True,
        type=click.FloatRange(0.5, 0.999),
        help="Confidence of each one-sided test.",
    ),
    click.option(
        "--for",
        "seconds",
        default="30s",
        show_default=True,
        type=parse_seconds,
        metavar="TIME",
        help="How long each side is loaded, for requirements on speed.",
    ),
    click.option(
        "--clients",
        default=4,
        show_default=True,
        type=click.IntRange(min=1),
        help="Clients that each wait for their answer before they ask again.",
    ),
    click.option(
        "--rate",
        default=0.0,
        type=click.FloatRange(min=0),
        metavar="R",
        help="Instead of --clients: requests per second that do not wait for answers.",
    ),
    click.option(
        "--slice",
        "slice_seconds",
        default="5s",
        show_default=True,
        type=parse_seconds,
        metavar="TIME",
        help="Length of a side's turn.",
    ),
)

JUDGING = ("requirements", "confidence", "seconds", "clients", "rate", "slice_seconds")
"""The names of these options."""


def gate_options(command: F) -> F:
    """Adds the options that say what must hold, and how both sides are loaded."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def load_of(own: Mapping[str, Any]) -> Load:
    """The load that these options describe."""
    clients = 0 if own["rate"] else own["clients"]
    return Load(own["seconds"], clients, own["rate"], own["slice_seconds"])


def load_shown_on(bar: ProgressBar) -> Callable[[Step], None]:
    """Returns a callback that shows the progress of a load."""

    def on_progress(step: Step) -> None:
        activity = "warming" if isinstance(step.command, Warm) else "loading"
        detail = f"{step.progress.in_flight} in flight"
        bar.show(f"{activity} {step.target}", step.done, step.total, detail)

    return on_progress
