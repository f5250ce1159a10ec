"""Puts the report together: one HTML page with everything in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from silkline.evaluate.item import Kind, kind_of
from silkline.evaluate.report.cases import Case, shown
from silkline.evaluate.report.verdict import explanation, headline
from silkline.evaluate.results import Comparison, Difference, Evaluation, Result
from silkline.evaluate.terminal import notes
from silkline.report.numbers import change
from silkline.report.page import render
from silkline.report.svg import interval

SHOWN = 24
"""Most items that are shown with their pictures."""

_FEW = 20
_MANY_SLICES = 10
_MOST_SLICES = 60
_LEAST_REACH = 0.02
"""The scale never shows less than two points to a side, or noise would look like an effect."""

__all__ = ["SHOWN", "Case", "page", "write_page"]


def write_page(evaluation: Evaluation, cases: Sequence[Case], path: Path) -> None:
    """Writes the report."""
    path.write_text(page(evaluation, cases), encoding="utf-8", errors="replace")


def page(evaluation: Evaluation, cases: Sequence[Case]) -> str:
    """The report: HTML without a script and without a reference to anything outside.

    Args:
        evaluation: What was found.
        cases: The items to show, the worst first.
    """
    results, comparison = evaluation.results, evaluation.comparison
    return render(
        "silkline.evaluate.report",
        title="Evaluation of " + " and ".join(one.subject.name for one in results),
        command="silkline evaluate",
        evaluation=evaluation,
        comparison=comparison,
        sides=list(zip("AB", results, map(_about, results), strict=False)),
        notes=list(notes(evaluation)),
        few=_FEW,
        many_slices=_MANY_SLICES,
        cases=list(map(shown, cases)),
        referenced=not cases or kind_of(cases[0].item) is not Kind.NONE,
        **({} if comparison is None else _compared(evaluation, comparison)),
    )


def _compared(evaluation: Evaluation, comparison: Comparison) -> dict[str, object]:
    """What the template shows of a comparison."""
    highest = {one.metric: one.highest for one in evaluation.results[0].scores}
    differences, slices = comparison.differences, comparison.changed[:_MOST_SLICES]
    reach = _reach(differences, highest)
    slice_reach = _reach([one.difference for one in slices], highest)
    first = next(iter(highest.values()), 1.0)
    return {
        "headline": headline(comparison),
        "explanation": explanation(comparison, evaluation.questions, first),
        "tone": _tone(differences[0], clear=differences[0].is_clear) if differences else "",
        "reach": reach,
        "differences": [
            (one, _effect(one, reach, highest[one.metric], clear=one.is_clear))
            for one in differences
        ],
        "slice_reach": slice_reach,
        "slices": [
            (one, _effect(found, slice_reach, highest[found.metric], clear=one.is_clear))
            for one in slices
            for found in (one.difference,)
        ],
    }


class _Effect(NamedTuple):
    """A difference, ready for the template."""

    change: str
    ends: str
    tone: str
    drawing: Markup


def _effect(one: Difference, reach: float, highest: float, *, clear: bool) -> _Effect:
    shown, low, high = (change(value, highest) for value in (one.difference, one.low, one.high))
    values = (value / highest for value in (one.difference, one.low, one.high))
    tone, label = _tone(one, clear=clear), f"{shown}, 95% interval {low} to {high}"
    drawing = interval(*values, reach, tone=tone, label=label)
    return _Effect(shown, f"{low} to {high}", tone, drawing)


def _tone(one: Difference, *, clear: bool) -> str:
    """The class of a difference: up, down, or none where it is not clear."""
    return "" if not clear else "down" if one.difference < 0 else "up"


def _reach(differences: Sequence[Difference], highest: dict[str, float]) -> float:
    """How far to either side the scale must go, as a share of the metrics' highest values."""
    ends = (max(-one.low, one.high) / highest[one.metric] for one in differences)
    return max((_LEAST_REACH, *ends))


def _about(result: Result) -> str:
    one = result.subject
    words = f"{one.model}, {one.engine}, {one.precision}, at most {one.max_tokens} tokens"
    words += f", pictures of at most {one.max_pixels:,} pixels" if one.max_pixels else ""
    return words + (", asked once more" if one.take else "")
