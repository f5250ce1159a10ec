"""Puts a gate's report together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from silkline.evaluate.report.cases import Case, shown
from silkline.models.gate import Verdict
from silkline.optimize.words import HEADLINES, load_rows, versions_line
from silkline.report.page import render

if TYPE_CHECKING:
    from silkline.optimize.gate import Gated

_MAX_SLICES = 60
TONES = {Verdict.PASSED: "up", Verdict.REFUSED: "down", Verdict.UNDECIDED: ""}


def gate_page(gated: Gated, cases: Sequence[Case]) -> str:
    """The report: HTML without a script and without a reference to anything outside.

    Args:
        gated: What the gate found.
        cases: The items to show, the worst first.
    """
    record = gated.record
    return render(
        "silkline.optimize.report",
        title=f"Gate of {record.candidate}: {record.verdict}",
        command="silkline gate",
        gate=gate_values(gated, cases),
        figures_of=gated,
    )


def gate_values(gated: Gated, cases: Sequence[Case]) -> dict[str, object]:
    """What the sections of a gate show.

    Args:
        gated: What the gate found.
        cases: The items to show, the worst first.
    """
    record = gated.record
    return {
        "record": record,
        "headline": HEADLINES[record.verdict],
        "tones": TONES,
        "sides": list(zip("AB", gated.evaluation.results, strict=True)),
        "slices": gated.slices[:_MAX_SLICES],
        "load": load_rows(gated.load),
        "versions": versions_line(record),
        "cases": list(map(shown, cases)),
    }
