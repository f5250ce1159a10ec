"""Puts the report together: one HTML page with everything in it."""

from __future__ import annotations

from collections.abc import Sequence

from silkline.evaluate.item import Kind, kind_of
from silkline.evaluate.report.cases import Case, shown
from silkline.evaluate.report.verdict import explanation, headline
from silkline.evaluate.results import Difference, Evaluation, Result
from silkline.evaluate.terminal import notes
from silkline.report.page import render

SHOWN = 24
"""Most items that are shown with their pictures."""

_FEW = 20
_MANY_SLICES = 10
_MAX_SLICES = 60
_MIN_REACH = 0.02
"""The scale never shows less than two points to a side, or noise would look like an effect."""

__all__ = ["SHOWN", "Case", "page"]


def page(evaluation: Evaluation, cases: Sequence[Case]) -> str:
    """The report: HTML without a script and without a reference to anything outside.

    Args:
        evaluation: What was found.
        cases: The items to show, the worst first.
    """
    results, comparison = evaluation.results, evaluation.comparison
    highest = {one.metric: one.highest for one in results[0].scores}
    first = next(iter(highest.values()), 1.0)
    differences = comparison.differences if comparison else []
    slices = comparison.changed[:_MAX_SLICES] if comparison else []
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
        highest=highest,
        reach=_reach(differences, highest),
        slices=slices,
        slice_reach=_reach([one.difference for one in slices], highest),
        headline=comparison and headline(comparison),
        explanation=comparison and explanation(comparison, evaluation.questions, first),
    )


def _reach(differences: Sequence[Difference], highest: dict[str, float]) -> float:
    """How far to either side the scale must go, as a share of the metrics' highest values."""
    ends = (max(-one.low, one.high) / highest[one.metric] for one in differences)
    return max((_MIN_REACH, *ends))


def _about(result: Result) -> str:
    one = result.subject
    words = f"{one.model}, {one.engine}, {one.precision}, at most {one.max_tokens} tokens"
    words += f", pictures of at most {one.max_pixels:,} pixels" if one.max_pixels else ""
    return words + (", asked once more" if one.take else "")
