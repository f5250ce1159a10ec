"""Puts the report together: one HTML page with everything in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from silkline.bench.record import Run
from silkline.bench.report import distributions, over_time
from silkline.bench.report.timeline import timeline
from silkline.bench.spec import Spec
from silkline.bench.summary import Comparison, Percentiles, Summary
from silkline.bench.terminal import health_lines, milliseconds, ratio_texts, told
from silkline.report.numbers import span
from silkline.report.page import render
from silkline.report.plot import SIDES, Plot

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
    return render(
        "silkline.bench.report",
        title="Bench of " + " and ".join(one.url for one in summaries),
        command="silkline bench",
        figures=True,
        run=run,
        sentence=_sentence(run),
        sides=list(
            zip(summaries, SIDES, map(_tiles, summaries), map(_grade, summaries), strict=False)
        ),
        comparison=comparison,
        ratios=[(name, *ratio_texts(one)) for name, one in comparison.ratios.items()]
        if comparison
        else [],
        plots=plots(run, summaries),
        percentiles=_percentiles(summaries),
        failures=_failures(summaries),
        notes=[line for one in summaries for line in health_lines(one)],
    )


def plots(
    run: Run, summaries: Sequence[Summary], marks: Sequence[tuple[float, str]] = ()
) -> Iterator[Plot]:
    """All plots of a run, in the order of the page.

    Args:
        run: What was recorded.
        summaries: The figures of each target.
        marks: What happened during the run: seconds after its start, and a label.
    """
    spec, slo = run.spec, summaries[0].slo
    labels = [f"{one.name} " if len(spec.targets) > 1 else "" for one in spec.targets]
    seconds = spec.arrivals.seconds
    sides = [run.of(target) for target in range(len(summaries))]
    lines = [timeline(records, seconds, slo, marks) for records in sides]
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


def _tiles(summary: Summary) -> list[tuple[str, str, str]]:
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
    return tiles


def _grade(summary: Summary) -> str:
    return "fine" if summary.goodput >= _FINE else "poor" if summary.goodput < _POOR else ""


def _percentiles(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    for one in summaries:
        yield _row(f"{one.name}  latency", one.latency)
        yield from (
            _row(f"{one.name}  cache {name}", found) for name, found in one.by_cache.items()
        )
        yield from (
            _row(f"{one.name}  stage {name}", found) for name, found in one.by_stage.items()
        )


def _row(name: str, found: Percentiles) -> list[str]:
    values = (found.mean, found.p50, found.p90, found.p99, found.p999, found.maximum)
    return [name, str(found.count), *(told(found, value, milliseconds) for value in values)]


def _failures(summaries: Sequence[Summary]) -> list[list[str]]:
    return [
        [one.name, failure.code, str(failure.status or "-"), str(failure.count)]
        for one in summaries
        for failure in one.failures
    ]
