"""`silkline plan --verify`: what the plan predicts for this machine, beside what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec
import uvloop
from rich.table import Table

from silkline.bench.session import Step
from silkline.cli.printing import print_result
from silkline.cli.progress import progress_bar
from silkline.errors import EnvironmentFault
from silkline.models.amounts import bytes_text
from silkline.optimize.size import size_of
from silkline.plan.calibration import calibrate, measured_of
from silkline.plan.devices import HERE, find_device
from silkline.plan.prediction import AIMS, Figures, Load, predict
from silkline.plan.roofline import Reached
from silkline.plan.shape import Shape
from silkline.plan.verification import Verified, keep, measure, pixels_of
from silkline.plan.workload import Workload
from silkline.report.numbers import span
from silkline.service.subject import SubjectSpec, parse_subject

_SECONDS = 15.0
_WIDTHS = (4, 8, 16, 32)


class Comparison(msgspec.Struct, frozen=True):
    """A load, what was predicted and what was measured.

    Attributes:
        load: The load.
        predicted: Before anything was measured.
        calibrated: With the shares that the measurement tells.
        measured: What was measured.
        errors: Signed errors of `predicted`, as shares; None where something is unknown.
        calibrated_errors: The same of `calibrated`.
    """

    load: Load
    predicted: Figures
    calibrated: Figures
    measured: Figures
    errors: dict[str, float | None]
    calibrated_errors: dict[str, float | None]


class Verification(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        bits: Bits of a weight, as the model is served here.
        calibrated: The shares and times with which the plan agrees with the measurement.
        loads: The loads.
    """

    bits: int
    calibrated: Reached
    loads: tuple[Comparison, ...]


def verify(
    model: str,
    engine: str,
    work: Workload,
    shape_for: Callable[[tuple[int, int]], Shape],
    reached: Reached,
    folder: Path | None,
) -> Verification:
    """Serves the model here, loads it with one client and with a full batch, and compares.

    Args:
        model: The model.
        engine: The engine; empty chooses it.
        work: The requests. The cache is left out: what it answers needs no engine.
        shape_for: The model with the tokens of an image of a size.
        reached: What the plan assumes.
        folder: Where the measurements are kept; None keeps none.

    Raises:
        EnvironmentFault: The model does not start here, or the folder cannot be written.
    """
    work = msgspec.structs.replace(work, hit_rate=0.0)
    subject = parse_subject(model, None, {"engine": engine} if engine else {}, work.answer_tokens)
    batch = subject.settings.engine.max_batch
    loads = [Load(_SECONDS, clients=1), Load(_SECONDS, clients=batch)]
    shape = shape_for((pixels_of(work.image),) * 2)
    bits = bits_of(subject, shape)
    with progress_bar(quiet=False) as bar:

        def show(step: Step) -> None:
            bar.show(f"loading {model} here", step.done, step.total, "")

        found = uvloop.run(measure(subject, work, loads, show))
    if folder is not None:
        _keep(found, folder)
    device = find_device(HERE)
    runs = [measured_of(one.summary, pixels_of(work.image)) for one in found]
    calibrated = calibrate(shape, work, device, bits, runs, reached)

    def figures(shares: Reached, one: Verified) -> Figures:
        return predict(
            shape, work, device, bits, shares, one.load, batch=batch, lengths=one.lengths
        )

    return Verification(
        bits=bits,
        calibrated=calibrated,
        loads=tuple(compare(one, figures(reached, one), figures(calibrated, one)) for one in found),
    )


def compare(one: Verified, predicted: Figures, calibrated: Figures) -> Comparison:
    """Returns what was measured beside two predictions."""

    def errors(of: Figures) -> dict[str, float | None]:
        return {name: of.error(name, one.figures) for name in AIMS}

    return Comparison(
        one.load, predicted, calibrated, one.figures, errors(predicted), errors(calibrated)
    )


def bits_of(subject: SubjectSpec, shape: Shape) -> int:
    """Bits of a weight as a model is served here, from the size of its files."""
    size = asyncio.run(size_of(subject, subject.settings.engine.engine or "openvino")) or 0
    bits = size * 8 / max(1, shape.parameters)
    return min(_WIDTHS, key=lambda width: abs(width - bits))


def show(found: Verification) -> None:
    """Prints the comparison, and the options that repeat the calibration."""
    shares = found.calibrated
    click.echo(f"\nthis machine, {found.bits} bits: predicted before, and as it was measured")
    print_result(_table(found.loads))
    click.echo(
        f"\nmeasured here: --compute {shares.compute:.3g} --bandwidth {shares.bandwidth:.3g} "
        f"--overhead {_text(shares.overhead)}, a prefill {_text(shares.prefill_overhead)} beside, "
        f"each request {_text(shares.request_overhead)} of a step, gateway "
        f"{_text(shares.gateway)}, decoding {_text(shares.decode)} a million pixels"
    )


def _table(loads: Sequence[Comparison]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("clients", "figure", "predicted", "measured", "error", "calibrated", "error"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for one in loads:
        for name in AIMS:
            cells = [
                _figure(name, getattr(figures, name))
                for figures in (one.predicted, one.measured, one.calibrated)
            ]
            table.add_row(
                str(one.load.clients), name, cells[0], cells[1], _error(one.errors[name]),
                cells[2], _error(one.calibrated_errors[name]),
            )  # fmt: skip
    return table


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "memory":
        return bytes_text(round(value))
    return f"{value:.1f}/s" if name == "throughput" else span(value)


def _error(error: float | None) -> str:
    return "-" if error is None else f"{error:+.0%}"


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.3g}ms"


def _keep(found: Sequence[Verified], folder: Path) -> None:
    try:
        paths = keep(found, folder)
    except OSError as error:
        raise EnvironmentFault(
            f"The measurements cannot be written into {folder}: {error.strerror}. Choose another "
            "folder with --keep."
        ) from error
    click.echo(f"kept {', '.join(map(str, paths))}, for --calibrate")
