"""How far `silkline plan` is from what is measured here, on five workloads.

    python -m benchmarks.plan [--model MODEL] [--seconds 20]

The plan is calibrated by two load tests, of one client and of a full batch, with small images and
long answers. Then it predicts five other workloads, which differ in the size of the images, the
tokens of the answers, the load and the hit rate, before they are measured. Nothing of a workload's
measurement goes into its prediction. Errors are signed: +10% means that the plan said too much.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser
from benchmarks.processes import BenchmarkError, leave
from benchmarks.report import command_line, today, write_report
from silkline.cli.plan_verify import bits_of
from silkline.engines.registry import judge
from silkline.errors import SilklineError
from silkline.models.inspection import inspect_model
from silkline.models.resolve import locate_model
from silkline.plan.calibration import calibrate, measured_of
from silkline.plan.devices import HERE, find_device
from silkline.plan.prediction import AIMS, Figures, Load, predict
from silkline.plan.roofline import Reached
from silkline.plan.shape import Shape, shape_of
from silkline.plan.verification import Verified, measure, pixels_of
from silkline.plan.workload import Workload
from silkline.service.subject import SubjectSpec, parse_subject

BATCH = 16
_SMALL = (384, 384)
_TOKENS = 64


class Case(msgspec.Struct, frozen=True):
    """A workload.

    Attributes:
        name: What differs from the calibration.
        work: The requests.
        load: The load.
        predicted: What the plan says.
        measured: What was measured.
        errors: Signed errors, as shares.
    """

    name: str
    work: Workload
    load: Load
    predicted: Figures
    measured: Figures
    errors: dict[str, float | None]


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    bits: int
    reached: Reached
    cases: list[Case]


def workloads(full_rate: float, seconds: float) -> list[tuple[str, Workload, Load]]:
    """The workloads; open loops are set by the rate that a full batch reached."""

    def work(**fields: object) -> Workload:
        usual = {"image": _SMALL, "answer_tokens": _TOKENS}
        return Workload(1.0, 1.0, **(usual | fields))  # type: ignore[arg-type]

    half = full_rate / 2
    return [
        ("4 clients", work(), Load(seconds, clients=4)),
        ("images of 1024 pixels, 4 clients", work(image=(1024, 1024)), Load(seconds, clients=4)),
        ("answers of 4 tokens, 16 clients", work(answer_tokens=4), Load(seconds, clients=BATCH)),
        ("half of the full rate", work(), Load(seconds, rate=half)),
        ("hit rate 0.6, half computed", work(hit_rate=0.6), Load(seconds, rate=half / 0.4)),
    ]


def run(model: str, engine: str, seconds: float) -> tuple[int, Reached, list[Case]]:
    """Calibrates, then predicts and measures each workload."""
    device = find_device(HERE)

    def shape(image: tuple[int, int]) -> Shape:
        return shape_of(inspect_model(locate_model(model, os.environ), judge, [image]))

    work = Workload(1.0, 1.0, image=_SMALL, answer_tokens=_TOKENS)
    subject = _subject(model, engine, work)
    own = shape(_SMALL)
    bits = bits_of(subject, own)
    loads = [Load(seconds, clients=1), Load(seconds, clients=BATCH)]
    base = asyncio.run(measure(subject, work, loads))
    runs = [measured_of(one.summary, pixels_of(_SMALL)) for one in base]
    reached = calibrate(own, work, device, bits, runs)
    print(f"calibrated: {reached}", flush=True)
    cases = []
    for name, asked, load in workloads(runs[1].rate, seconds):
        square = pixels_of(asked.image)
        predicted = predict(
            shape((square, square)), asked, device, bits, reached, load, batch=BATCH,
            lengths=tuple(min(tokens, asked.answer_tokens) for tokens in base[0].lengths),
        )  # fmt: skip
        (found,) = asyncio.run(measure(_subject(model, engine, asked), asked, [load]))
        cases.append(_case(name, asked, predicted, found))
        print(f"{name}: {cases[-1].errors}", flush=True)
    return bits, reached, cases


def _subject(model: str, engine: str, work: Workload) -> SubjectSpec:
    return parse_subject(f"{model} max_batch={BATCH}", None, {"engine": engine}, work.answer_tokens)


def _case(name: str, work: Workload, predicted: Figures, found: Verified) -> Case:
    errors = {figure: predicted.error(figure, found.figures) for figure in AIMS}
    return Case(name, work, found.load, predicted, found.figures, errors)


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# Plan against measurement, {report.date}", "", f"    {report.command}", ""]
    lines += [f"- {name}: {value}" for name, value in report.machine.items()]
    lines += ["", "| workload | figure | predicted | measured | error | aim |", "|---" * 6 + "|"]
    for case in report.cases:
        for name, aim in AIMS.items():
            values = [_text(name, getattr(of, name)) for of in (case.predicted, case.measured)]
            error = case.errors[name]
            told = "-" if error is None else f"{error:+.1%}"
            lines.append(f"| {case.name} | {name} | {' | '.join(values)} | {told} | {aim:.0%} |")
    lines += ["", *(_covered(report.cases, name) for name in AIMS)]
    return "\n".join(lines) + "\n"


def _covered(cases: list[Case], name: str) -> str:
    errors = [error for case in cases if (error := case.errors[name]) is not None]
    within = sum(abs(error) <= AIMS[name] for error in errors)
    mean = sum(map(abs, errors)) / max(1, len(errors))
    return f"- {name}: {within} of {len(errors)} within {AIMS[name]:.0%}; mean {mean:.1%}"


def _text(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    scale, unit = {"memory": (1e-6, "MB"), "throughput": (1.0, "/s")}.get(name, (1e3, "ms"))
    return f"{value * scale:.1f} {unit}"


def main() -> None:
    """Runs the comparison, and says where it is written."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    before = machine()
    try:
        bits, reached, cases = run(arguments.model, arguments.engine, arguments.seconds)
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")
    report = Report(command_line("plan"), today(), before | versions(), bits, reached, cases)
    text = markdown(report)
    path = write_report(
        report, text, arguments.results, Path(arguments.model).name, report.date, "plan"
    )
    print(f"\n{text}\nwritten to {path} and .json beside it")


def _arguments() -> argparse.Namespace:
    parser = base_parser("The errors of silkline plan on this machine.")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
