"""Puts the report together: one HTML page with everything in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

import msgspec

from silkline.bench.record import Run
from silkline.bench.report import distributions, over_time
from silkline.bench.report.plot import SIDES, Plot, names, span, thinned
from silkline.bench.report.timeline import timeline
from silkline.bench.spec import Spec
from silkline.bench.summary import Comparison, Percentiles, Summary
from silkline.bench.terminal import health_lines, milliseconds, ratio_texts, told

_TABLE_ROWS = 60
_FINE, _POOR = 0.99, 0.9
"""Goodput from which it is shown as good, and below which as bad."""

_CACHE_LINES = ("hit", "coalesced", "near", "miss")


def write_page(
    run: Run, summaries: Sequence[Summary], comparison: Comparison | None, path: Path
) -> None:
    """Writes the report of a run."""
    path.write_text(page(run, summaries, comparison), encoding="utf-8")


def page(run: Run, summaries: Sequence[Summary], comparison: Comparison | None) -> str:
    """The report of a run: HTML without a reference to anything outside."""
    here = files("silkline.bench.report")
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    title = "Bench of " + " and ".join(one.url for one in summaries)
    body = "\n".join(_body(run, summaries, comparison))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{body}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def plots(run: Run, summaries: Sequence[Summary]) -> Iterator[Plot]:
    """All plots of a run, in the order of the page."""
    spec, slo = run.spec, summaries[0].slo
    labels, seconds = names(spec), spec.arrivals.seconds
    sides = [run.of(target) for target in range(len(summaries))]
    lines = [timeline(records, seconds, slo) for records in sides]
    yield over_time.rates(lines, labels)
    if any(one.served for one in summaries):
        scale = over_time.latency_range(lines, slo)
        for target, line in enumerate(lines):
            yield over_time.latency(line, labels[target], target, slo, scale)
        yield distributions.percentile_curves("Latency by percentile", _curves(run, labels), slo)
    for records, label in zip(sides, labels, strict=True):
        if (plot := distributions.stages(records, label)) is not None:
            yield plot
    for line, label in zip(lines, labels, strict=True):
        for found in (over_time.cache(line, label), over_time.failures(line, label)):
            if found is not None:
                yield found
    if any(one.first_token.count for one in summaries):
        yield distributions.percentile_curves("Streams", _stream_curves(run, labels))


def _curves(run: Run, labels: Sequence[str]) -> list[distributions.Line]:
    curves: list[distributions.Line] = []
    for target, label in enumerate(labels):
        served = [one for one in run.of(target) if one.ok]
        name = label or "all"
        curves.append((name, SIDES[target], sorted(one.latency for one in served)))
        if len(labels) == 1:
            for state in _CACHE_LINES:
                values = sorted(one.latency for one in served if one.cache == state)
                curves.append((state, f"state-{state}", values))
    return curves


def _stream_curves(run: Run, labels: Sequence[str]) -> list[distributions.Line]:
    curves: list[distributions.Line] = []
    for target, label in enumerate(labels):
        streams = [one for one in run.of(target) if one.ok and one.first_token]
        first = sorted(one.first_token - one.intended for one in streams)
        gaps = sorted(gap for one in streams for gap in one.gaps)
        curves.append((f"{label}first token", SIDES[target], first))
        curves.append((f"{label}between tokens", f"{SIDES[target]} dashed", gaps))
    return curves


def _body(run: Run, summaries: Sequence[Summary], comparison: Comparison | None) -> Iterator[str]:
    yield "<header><p class='brand'>silkline bench</p>"
    hosts = "<span class='against'>against</span>".join(
        f"<span class='target {colour if comparison else ''}'>{escape(one.url)}</span>"
        for one, colour in zip(summaries, SIDES, strict=False)
    )
    yield f"<h1>{hosts}</h1><p class='lede'>{escape(_sentence(run))}</p></header><main>"
    for summary, colour in zip(summaries, SIDES, strict=False):
        yield _tiles(summary, colour, named=comparison is not None)
    if comparison is not None:
        yield _compared(summaries, comparison)
    for plot in plots(run, summaries):
        yield _figure(plot)
    yield _details("Percentiles, milliseconds", _percentile_table(summaries))
    if any(one.failures for one in summaries):
        yield _details("Failures", _failure_table(summaries))
    notes = [line for one in summaries for line in health_lines(one)]
    marked = "".join(
        f"<li{' class=warning' if note.startswith('WARNING') else ''}>{escape(note)}</li>"
        for note in notes
    )
    yield f"<section class='card'><h2>The generator</h2><ul class='notes'>{marked}</ul></section>"
    settings = msgspec.json.format(msgspec.json.encode(run.spec), indent=2).decode()
    told = f"<summary>Settings</summary><pre>{escape(settings)}</pre>"
    yield f"<details class='card'>{told}</details>"
    yield f"</main><footer>Begun {escape(run.began)}. Every request is in requests.jsonl.</footer>"


def _sentence(run: Run) -> str:
    """What was run, in words."""
    spec: Spec = run.spec
    arrivals, traffic = spec.arrivals, spec.traffic
    words = f"{arrivals.rate:g} requests/s for {span(arrivals.seconds)}, open loop"
    if (burst := arrivals.burst) is not None:
        words += f", {burst.factor:g} times as many for {burst.seconds:g} s every {burst.every:g} s"
    kind = "drawn pictures" if traffic.drawn else "own pictures"
    words += f"; Zipf({traffic.zipf:g}) over "
    words += f"{traffic.catalogue} {kind}" if traffic.drawn else kind
    for share, what in ((traffic.new, "new"), (traffic.near, "near-duplicates")):
        words += f", {share:.1%} {what}" if share else ""
    words += f"; sent as {traffic.form.value}{', streamed' if traffic.stream else ''}"
    return words + (f"; model {run.model}." if run.model else ".")


def _tiles(summary: Summary, colour: str, *, named: bool) -> str:
    found = summary.latency
    hits = summary.served - sum(
        summary.by_cache[state].count
        for state in ("miss", "bypass", "untold")
        if state in summary.by_cache
    )
    failed = summary.requests - summary.served
    time = partial(told, found, spell=span)
    tiles = [
        ("goodput", f"{summary.goodput:.2%}", f"within {span(summary.slo)}"),
        ("good answers", f"{summary.per_second(summary.good):.1f}/s",
         f"of {summary.per_second(summary.requests):.1f}/s due"),
        ("P50", time(found.p50), f"mean {time(found.mean)}"),
        ("P99", time(found.p99), f"P99.9 {time(found.p999)}"),
        ("slowest", time(found.maximum), f"of {found.count} answers"),
        ("failed", str(failed), f"{failed / max(1, summary.requests):.2%} of all"),
    ]  # fmt: skip
    if summary.by_cache.keys() - {"untold"}:
        share = hits / max(1, summary.served)
        tiles.append(("from a cache", f"{share:.1%}", f"{hits} answers"))
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd class='sub'>{escape(sub)}</dd>"
        "</div>"
        for name, value, sub in tiles
    )
    grade = "fine" if summary.goodput >= _FINE else "poor" if summary.goodput < _POOR else ""
    head = f"<h2 class='target {colour}'>{escape(f'{summary.name}  {summary.url}')}</h2>"
    return f"<section>{head if named else ''}<dl class='tiles {grade}'>{shown}</dl></section>"


def _compared(summaries: Sequence[Summary], comparison: Comparison) -> str:
    first, second = (one.name for one in summaries)
    rows = [[name, *ratio_texts(ratio)] for name, ratio in comparison.ratios.items()]
    head = [f"{second} is so many times {first}", "times", "95% interval"]
    about = (
        f"Geometric mean over {comparison.pairs} pairs of slices, both played within seconds of "
        "each other; the interval is a bootstrap over the pairs."
    )
    table = _table(head, rows)
    return f"<section class='card'><h2>{second} beside {first}</h2><p>{about}</p>{table}</section>"


def _figure(plot: Plot) -> str:
    legend = "".join(
        f"<li><i class='swatch {colour}'></i>{escape(name)}</li>" for colour, name in plot.legend
    )
    data = table = ""
    if plot.hover is not None:
        told = msgspec.json.encode(plot.hover).decode().replace("<", "\\u003c")
        data = f"<script type='application/json'>{told}</script>"
        rows = [
            [plot.hover.labels[n], *(series.texts[n] for series in plot.hover.series)]
            for n in thinned(len(plot.hover.labels), _TABLE_ROWS)
        ]
        head = [plot.stop, *(series.name for series in plot.hover.series)]
        table = f"<details><summary>As a table</summary>{_table(head, rows)}</details>"
    return (
        f"<figure class='card'><figcaption><h2>{escape(plot.title)}</h2>"
        f"<ul class='legend'>{legend}</ul><p>{escape(plot.about)}</p></figcaption>"
        f"<div class='plot'>{plot.svg}</div>{data}{table}</figure>"
    )


def _percentile_table(summaries: Sequence[Summary]) -> str:
    rows = []
    for one in summaries:
        rows.append(_row(f"{one.name}  latency", one.latency))
        rows += [_row(f"{one.name}  cache {name}", values) for name, values in one.by_cache.items()]
        rows += [_row(f"{one.name}  stage {name}", values) for name, values in one.by_stage.items()]
    return _table(["", "n", "mean", "P50", "P90", "P99", "P99.9", "max"], rows)


def _row(name: str, found: Percentiles) -> list[str]:
    values = (found.mean, found.p50, found.p90, found.p99, found.p999, found.maximum)
    return [name, str(found.count), *(told(found, value, milliseconds) for value in values)]


def _failure_table(summaries: Sequence[Summary]) -> str:
    rows = [
        [one.name, failure.code, str(failure.status or "-"), str(failure.count)]
        for one in summaries
        for failure in one.failures
    ]
    return _table(["target", "code", "status", "requests"], rows)


def _details(title: str, table: str) -> str:
    return f"<section class='card'><h2>{escape(title)}</h2>{table}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th scope='row'>{escape(first)}</th>"
        + "".join(f"<td>{escape(value)}</td>" for value in rest)
        + "</tr>"
        for first, *rest in rows
    )
    table = f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    return f"<div class='wide'><table>{table}</table></div>"
