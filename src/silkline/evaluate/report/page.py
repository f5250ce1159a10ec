"""Puts the report together: one HTML page with everything in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import msgspec

from silkline.evaluate.item import Kind, kind_of
from silkline.evaluate.report.cases import Case, show_all
from silkline.evaluate.report.forest import axis, direction, forest, reach_of
from silkline.evaluate.report.numbers import change, p_value, score, seconds
from silkline.evaluate.report.verdict import explanation, headline
from silkline.evaluate.results import Comparison, Difference, Evaluation, Result
from silkline.evaluate.terminal import notes

SHOWN = 24
"""Most items that are shown with their pictures."""

_FEW = 20
_MANY_SLICES = 10
_MAX_SLICES = 60
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

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
    style = files("silkline.evaluate.report").joinpath("page.css").read_text("utf-8")
    title = "Evaluation of " + " and ".join(one.subject.name for one in evaluation.results)
    body = "\n".join(_body(evaluation, cases))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _body(evaluation: Evaluation, cases: Sequence[Case]) -> Iterator[str]:
    highest = {one.metric: one.highest for one in evaluation.results[0].scores}
    comparison = evaluation.comparison
    yield _header(evaluation)
    yield "<main>"
    if comparison is not None:
        yield _verdict(evaluation, comparison, highest)
    else:
        yield _warnings(evaluation)
    yield _scores(evaluation)
    if comparison is not None and comparison.differences:
        yield _differences(comparison, highest)
    yield _effort(evaluation.results)
    if comparison is not None and comparison.changed:
        yield _slices(comparison, highest)
    yield _cases(cases, compared=comparison is not None)
    told = msgspec.json.format(msgspec.json.encode(evaluation), indent=2).decode()
    yield f"<details class='card'><summary>All figures</summary><pre>{escape(told)}</pre></details>"
    yield "</main><footer>Every answer is in answers.jsonl beside this page.</footer>"


def _header(evaluation: Evaluation) -> str:
    subjects = "".join(
        f"<li><span class='side {side.lower()}'>{side}</span><span>{escape(one.subject.name)} "
        f"<span class='told'>{escape(_told(one))}</span></span></li>"
        for side, one in zip("AB", evaluation.results, strict=False)
    )
    title = " against ".join("AB"[: len(evaluation.results)])
    heading = f"{title} on {evaluation.dataset}" if len(title) > 1 else evaluation.dataset
    return (
        "<header><p class='brand'>silkline evaluate</p>"
        f"<h1>{escape(heading)}</h1><p class='lede'>{evaluation.items} items, data set digest "
        f"{escape(evaluation.digest)}</p><ul class='subjects'>{subjects}</ul></header>"
    )


def _told(result: Result) -> str:
    one = result.subject
    told = f"{one.model}, {one.engine}, {one.precision}, at most {one.max_tokens} tokens"
    told += f", pictures of at most {one.max_pixels:,} pixels" if one.max_pixels else ""
    return told + (", asked once more" if one.take else "")


def _verdict(evaluation: Evaluation, comparison: Comparison, highest: dict[str, float]) -> str:
    tone = ""
    if comparison.differences and comparison.differences[0].is_clear:
        tone = "worse" if comparison.differences[0].difference < 0 else "better"
    first = next(iter(highest.values()), 1.0)
    return (
        f"<section class='card verdict {tone}'><h2>{escape(headline(comparison))}</h2>"
        f"<p>{escape(explanation(comparison, evaluation.questions, first))}</p>"
        f"<p>Both gave the same answer, letter by letter, to {comparison.agreement:.1%} of the "
        f"items.</p>{_warnings(evaluation)}</section>"
    )


def _warnings(evaluation: Evaluation) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in notes(evaluation))
    return f"<ul class='notes'>{lines}</ul>" if lines else ""


def _scores(evaluation: Evaluation) -> str:
    results = evaluation.results
    rows = []
    for place, one in enumerate(results[0].scores):
        cells = [f"{escape(one.metric)}<span class='about'>{escape(one.about)}</span>"]
        for result in results:
            found = result.scores[place]
            low, high = (score(end, found.highest) for end in (found.low, found.high))
            cells += [score(found.mean, found.highest), f"{low} to {high}"]
        rows.append(cells)
    heads = ["metric"]
    for side in "AB"[: len(results)]:
        heads += [_side(side), "95% interval"]
    if not rows:
        return ""
    return (
        "<section class='card'><h2>How right the answers are</h2><p>Means over all items; an item "
        "without an answer counts 0. Wilson intervals where a metric is right or wrong, bootstrap "
        f"intervals elsewhere.</p>{_table(heads, rows)}</section>"
    )


def _differences(comparison: Comparison, highest: dict[str, float]) -> str:
    reach = reach_of(comparison.differences, highest)
    rows = [
        [escape(one.metric), *_change(one, reach, highest, clear=one.is_clear),
         str(one.better), str(one.worse), escape(p_value(one.p))]
        for one in comparison.differences
    ]  # fmt: skip
    heads = ["metric", "B less A", "95% interval", axis(reach),
             "better", "worse", "p"]  # fmt: skip
    return (
        "<section class='card'><h2>What changes from A to B</h2><p>Paired by item: Bonett "
        "and Price's intervals and McNemar's exact test where a metric is right or wrong, a "
        "bootstrap over the items and a randomisation test elsewhere. The metrics are not "
        f"corrected for being several: the first one counts.</p>{_table(heads, rows)}</section>"
    )


def _change(one: Difference, reach: float, highest: dict[str, float], *, clear: bool) -> list[str]:
    """Cells: the difference, its interval, the drawing."""
    top = highest[one.metric]
    shown = change(one.difference, top)
    style = direction(one, clear=clear)
    return [
        f"<td class='{style}'>{shown}</td>" if style else shown,
        f"<td class='range'>{change(one.low, top)} to {change(one.high, top)}</td>",
        f"<td class='plot'>{forest(one, reach, top, clear=clear)}</td>",
    ]


def _effort(results: Sequence[Result]) -> str:
    rows = []
    for side, one in zip("AB", results, strict=False):
        found = one.latency
        times = ["-"] * 4
        if found is not None:
            times = [seconds(value) for value in (found.mean, found.p50, found.p90, found.p99)]
        tokens = [f"{one.prompt_tokens:,}", f"{one.completion_tokens:,}"]
        rows.append([_side(side), *times, *tokens, f"{one.answered} of {one.items}", str(one.cut)])
    heads = ["", "mean", "P50", "P90", "P99", "tokens in", "tokens out", "answered", "cut"]
    return (
        "<section class='card'><h2>What it took</h2><p>Seconds from asking to the end of the "
        "answer, several items at a time, each subject in its turn.</p>"
        f"{_table(heads, rows)}</section>"
    )


def _slices(comparison: Comparison, highest: dict[str, float]) -> str:
    slices, shown = comparison.slices, comparison.changed[:_MAX_SLICES]
    reach = reach_of([one.difference for one in shown], highest)
    rows = []
    for one in shown:
        few = "<span class='about'>few items</span>" if one.items < _FEW else ""
        name = f"{escape(one.field)}: {escape(one.value)}{few}"
        cells = _change(one.difference, reach, highest, clear=one.is_clear)
        rows.append([name, str(one.items), *cells, escape(p_value(one.p_corrected))])
    heads = ["slice", "items", "B less A", "95% interval",
             axis(reach), "p by Holm"]  # fmt: skip
    many = (
        f" With {len(slices)} slices some intervals leave 0 by chance, so p is corrected for all "
        "of them together, by Holm's method; coloured is what holds after that."
        if len(slices) >= _MANY_SLICES
        else ""
    )
    metric = escape(slices[0].difference.metric)
    return (
        f"<section class='card'><h2>Where it changes</h2><p>{metric} by slice, clear effects "
        f"first, without those in which nothing changes.{many}</p>{_table(heads, rows)}</section>"
    )


def _cases(cases: Sequence[Case], *, compared: bool) -> str:
    title = "The worst regressions" if compared else "The worst answers"
    if compared and cases and not _has_reference(cases[0]):
        title = "Answers that differ"
    if not cases:
        return f"<section class='card'><h2>{title}</h2><p>There are none.</p></section>"
    key = (
        "Marked: what is <ins>wrong or too much</ins> and what is <del>missing</del>, beside what "
        "is right; where the set does not say that, beside A."
    )
    return f"<section><h2>{title}</h2><p class='key'>{key}</p></section>{show_all(cases)}"


def _has_reference(case: Case) -> bool:
    return kind_of(case.item) is not Kind.NONE


def _side(side: str) -> str:
    return f"<span class='side {side.lower()}'>{side}</span>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; one that is no `td` yet becomes one."""
    head = "".join(f"<th scope='col'>{cell}</th>" for cell in heads)
    body = "".join(
        f"<tr><th scope='row'>{first}</th>"
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        "<div class='wide' tabindex='0' role='region' aria-label='Table'><table><thead><tr>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
