"""Prints a gate's verdict on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.models.gate import Verdict
from silkline.optimize.gate import Gated
from silkline.optimize.words import HEADLINES, LOAD_HEADS, load_rows
from silkline.report.numbers import score
from silkline.report.terminal import table

COLOURS = {Verdict.PASSED: "green", Verdict.REFUSED: "red", Verdict.UNDECIDED: "yellow"}


def verdict_lines(gated: Gated) -> RenderableType:
    """The figures, then each requirement with its reason, then the verdict."""
    record = gated.record
    parts: list[RenderableType] = [
        Text(f"A, the baseline   {gated.evaluation.results[0].subject.name}"),
        Text(f"B, the candidate  {gated.evaluation.results[1].subject.name}"),
        "",
        _scores(gated),
    ]
    if rows := load_rows(gated.load):
        parts += ["", table(*LOAD_HEADS, rows=rows)]
    parts.append("")
    for finding in record.findings:
        line = Text(f"{finding.verdict:<10}", style=COLOURS[finding.verdict])
        parts.append(line.append(f"{finding.requirement}: {finding.reason}", style="default"))
    style = f"bold {COLOURS[record.verdict]}"
    parts.append(Text(f"\n{HEADLINES[record.verdict]}.", style=style))
    return Group(*parts)


def _scores(gated: Gated) -> Table:
    record, results = gated.record, gated.evaluation.results
    title = f"{record.dataset}, {record.items:,} items, {record.images:,} images"
    rows = []
    for index, first in enumerate(results[0].scores):
        sides = [result.scores[index] for result in results]
        rows.append((first.metric, *(score(each.mean, each.highest) for each in sides)))
    errors = [result.calibration_error for result in results]
    if any(each is not None for each in errors):
        told = ("" if each is None else score(each) for each in errors)
        rows.append(("calibration error", *told))
    return table(title, "A, the baseline", "B, the candidate", rows=rows)
