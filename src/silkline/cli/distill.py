"""`silkline distill`: train a smaller model to answer as a larger one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import uvloop

from silkline.cli.data_options import data_columns
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.config import LogSettings, settings_from
from silkline.errors import EnvironmentFault
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import load_dataset
from silkline.observe.logs import configure_logging

if TYPE_CHECKING:
    from silkline.distil.record import Distilled

_LIBRARIES = frozenset({"numpy", "safetensors", "torch", "transformers"})
_OWN = (
    "layers", "width", "image_tokens", "steps", "batch", "temperature", "soft", "rate", "top",
    "max_tokens", "evaluate_every", "patience", "pause_after", "limit", "seed", "as_json",
)  # fmt: skip


@click.command()
@click.argument("teacher")
@click.option("--data", required=True, metavar="SET", help="Images and prompts, as for evaluate.")
@data_columns
@click.option("--prompt", default="", help="Prompt for all items, as for evaluate.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first items.")
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="STUDENT",
    type=click.Path(path_type=Path),
    help="Folder of the student; it must not exist. STUDENT.work keeps the checkpoints.",
)
@click.option(
    "--layers",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the teacher's layers.",
)
@click.option(
    "--width",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of its attention heads and neurons, and with them of its width.",
)
@click.option(
    "--image-tokens",
    type=click.IntRange(min=1),
    help="Tokens of an image, by larger patches; as many as the teacher's if not set.",
)
@click.option("--steps", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--batch",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Questions in a step.",
)
@click.option(
    "--temperature",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Softens the distributions that are compared.",
)
@click.option(
    "--soft",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Weight of the teacher's distributions; the rest is that of its answers.",
)
@click.option(
    "--rate",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Factor on the peak learning rates.",
)
@click.option(
    "--top",
    default=32,
    show_default=True,
    type=click.IntRange(min=1),
    help="The teacher's most likely tokens that are kept at each token.",
)
@click.option(
    "--max-tokens",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum tokens of the teacher's answers.",
)
@click.option(
    "--evaluate-every",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Steps between two looks at the held-out questions.",
)
@click.option(
    "--patience",
    default=5,
    show_default=True,
    type=click.IntRange(min=0),
    help="Stop after so many of them without a smaller loss; 0 never stops early.",
)
@click.option(
    "--pause-after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Pause the training then; the same command continues it.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the order of the questions.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@settings_options("limits", "fetch", "decode")
def distill(
    teacher: str,
    data: str,
    columns: dict[str, str],
    prompt: str,
    out: Path,
    config: Path | None,
    **options: Any,
) -> None:
    """Train a student that answers as TEACHER does, with fewer layers, width and image tokens.

    TEACHER is a model of the LLaVA layout with weights for the torch engine. The data set needs
    images and prompts only: the teacher answers them. A tenth of the images is held out and judges
    the student. The same command again continues a run that was interrupted, exactly
    (docs/distill.md).
    """
    configure_logging(LogSettings(log_level="warning"))
    own = {name: options.pop(name) for name in _OWN}
    settings = settings_from(config, {**options, "model": teacher})
    location = find_set(data, os.environ)
    dataset = load_dataset(location, prompt=prompt, maximum=own["limit"], columns=columns)
    try:
        from silkline.distil.distil import DistilPlan, distil  # noqa: PLC0415 - needs an extra
        from silkline.distil.optimiser import Rates  # noqa: PLC0415
        from silkline.distil.sizes import Sizes  # noqa: PLC0415
        from silkline.distil.task import Method  # noqa: PLC0415
        from silkline.distil.training import Schedule  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        raise EnvironmentFault(
            f"Distilling needs torch and transformers, but {error.name} is not installed.",
            remedy="pip install 'silkline[torch]'",
        ) from error
    peak = Rates()
    plan = DistilPlan(
        settings,
        dataset,
        out,
        Sizes(own["layers"], own["width"], own["image_tokens"]),
        Method(own["temperature"], own["soft"], own["batch"], own["seed"]),
        Schedule(
            own["steps"], own["evaluate_every"], own["patience"], pause_after=own["pause_after"]
        ),
        Rates(peak.muon * own["rate"], peak.adam * own["rate"], peak.weight_decay),
        own["max_tokens"],
        own["top"],
    )
    with progress_bar(quiet=own["as_json"]) as bar:
        found = uvloop.run(distil(plan, bar.show))
    _print(found, teacher, out, as_json=own["as_json"])


def _print(found: Distilled | None, teacher: str, out: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    if found is None:
        click.echo("Paused. The same command continues the training.")
        return
    student, looking = found.student, found.looking
    followed = (
        ""
        if looking.followed is None
        else (
            f" Blurred images change {looking.teacher:.1%} of the teacher's answers and "
            f"{looking.student:.1%} of its own."
        )
    )
    click.echo(
        f"Wrote {out}: {student.parameters:,} parameters, {found.share:.1%} of {teacher}'s.\n"
        f"{found.agreement:.1%} of its answers about held-out images are the teacher's.{followed}\n"
        "Compare them on data with references:\n\n"
        f"  silkline evaluate {shlex.quote(teacher)} --against {shlex.quote(str(out))} "
        "--data SET\n"
    )
