"""Prints an evaluation's result on a terminal, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.evaluate.report.verdict import explanation, headline
from silkline.evaluate.results import Comparison, Evaluation, Result, Score
from silkline.report.numbers import change, p_value, score, seconds
from silkline.report.terminal import table

_MAX_SLICES = 8
_GAP = ""
"""An empty line between tables."""


def tables(evaluation: Evaluation) -> RenderableType:
    """All tables, one below the other."""
    parts: list[RenderableType] = [
        *(
            Text(f"{name}  {result.subject.name}")
            for name, result in zip("AB", evaluation.results, strict=False)
        ),
        _GAP,
        _scores(evaluation),
        _GAP,
        _effort(evaluation),
    ]
    if (comparison := evaluation.comparison) is not None:
        highest = _highest(evaluation)
        if comparison.differences:
            parts += [_GAP, _differences(comparison, highest)]
        if comparison.changed:
            parts += [_GAP, _slices(comparison, highest)]
        first = next(iter(highest.values()), 1.0)
        parts.append(Text(f"\n{headline(comparison)}.", style="bold"))
        parts.append(Text(explanation(comparison, evaluation.questions, first)))
        parts.append(Text(f"Answers that are identical: {comparison.agreement:.1%}."))
    parts += [Text(line, style="yellow") for line in notes(evaluation)]
    return Group(*parts)


def notes(evaluation: Evaluation) -> Iterator[str]:
    """Warnings for the reader: duplicates, failures and answers that were cut."""
    if evaluation.duplicates:
        yield (
            f"{evaluation.duplicates} of {evaluation.items} items are duplicates of earlier rows: "
            "asked once, counted in the means once per row, and as one observation in intervals "
            "and tests."
        )
    for name, result in zip("AB", evaluation.results, strict=False):
        for code, count in result.failures.items():
            yield f"{name}: {count} of {result.items} items got no answer ({code}); they score 0."
        if result.cut:
            limit = result.subject.max_tokens
            yield f"{name}: {result.cut} answers were cut at {limit} tokens."


def _highest(evaluation: Evaluation) -> dict[str, float]:
    return {score.metric: score.highest for score in evaluation.results[0].scores}


def _scores(evaluation: Evaluation) -> Table:
    heads = [name for name, _ in zip("AB", evaluation.results, strict=False)]
    found = table(f"{evaluation.dataset}, {evaluation.items} items", *heads)
    for index, first in enumerate(evaluation.results[0].scores):
        sides = [result.scores[index] for result in evaluation.results]
        found.add_row(Text(first.metric), *map(_interval, sides))
    return found


def _interval(one: Score) -> str:
    low, high = score(one.low, one.highest), score(one.high, one.highest)
    return f"{score(one.mean, one.highest)}  [{low}, {high}]"


def _effort(evaluation: Evaluation) -> Table:
    found = table("latency", "P50", "P90", "P99", "tokens in", "out", "answered")
    for name, result in zip("AB", evaluation.results, strict=False):
        found.add_row(name, *_times(result))
    return found


def _times(result: Result) -> list[str]:
    found = result.latency
    times = ["-"] * 3 if found is None else map(seconds, (found.p50, found.p90, found.p99))
    tokens = (f"{result.prompt_tokens:,}", f"{result.completion_tokens:,}")
    return [*times, *tokens, f"{result.answered} of {result.items}"]


def _differences(comparison: Comparison, highest: dict[str, float]) -> Table:
    found = table("B less A, points", "difference", "95% interval", "better", "worse", "p")
    for one in comparison.differences:
        top = highest[one.metric]
        found.add_row(
            Text(one.metric),
            change(one.difference, top),
            f"[{change(one.low, top)}, {change(one.high, top)}]",
            str(one.better),
            str(one.worse),
            p_value(one.p),
            style=None if not one.is_clear else "red" if one.difference < 0 else "green",
        )
    return found


def _slices(comparison: Comparison, highest: dict[str, float]) -> Table:
    shown = comparison.changed[:_MAX_SLICES]
    of_all = f"{len(shown)} of {len(comparison.slices)} slices, {shown[0].difference.metric}"
    found = table(of_all, "items", "difference", "95% interval", "p by Holm")
    for one in shown:
        effect, top = one.difference, highest[one.difference.metric]
        found.add_row(
            Text(f"{one.field} = {one.value}"),
            str(one.items),
            change(effect.difference, top),
            f"[{change(effect.low, top)}, {change(effect.high, top)}]",
            p_value(one.p_corrected),
            style="bold" if one.is_clear else None,
        )
    return found
