"""Prints the load test's results on a terminal, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.bench.percentiles import Ratio
from silkline.bench.summary import Comparison, Percentiles, Summary

_LATE_SECONDS = 0.05
"""The generator did not keep up if the P99 of its lateness is above this."""

_BUSY = 0.9
_HEADS = ("P50", "P90", "P99", "P99.9", "max")


def tables(summaries: Sequence[Summary], comparison: Comparison | None) -> RenderableType:
    """All tables, one below the other."""
    parts: list[RenderableType] = [_goodput(summaries), _latency(summaries)]
    if any(one.failures for one in summaries):
        parts.append(_failures(summaries))
    if comparison is not None:
        parts.append(_compared(summaries, comparison))
    parts += [Text(line) for one in summaries for line in health_lines(one)]
    return Group(*parts)


def milliseconds(seconds: float) -> str:
    """A time in milliseconds, with two, one or no decimals by its size."""
    value = seconds * 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def told(values: Percentiles, seconds: float, spell: Callable[[float], str]) -> str:
    """One of a distribution's times; a dash, not 0, if the distribution is empty."""
    return spell(seconds) if values.count else "-"


def health_lines(summary: Summary) -> Iterator[str]:
    """The generator's health, with warnings if it distorted the measurement."""
    generator = summary.generator
    late = generator.lateness
    yield (
        f"generator {summary.name}: sent late by P50 {milliseconds(late.p50)} ms, "
        f"P99 {milliseconds(late.p99)} ms, max {milliseconds(late.maximum)} ms; "
        f"{generator.cpu:.0%} of a core; {generator.opened} connections"
    )
    if generator.warmed:
        yield (
            f"warmed {summary.name} with {generator.warmed} requests before the clock started, "
            f"{generator.warm_failures} failed"
        )
    if generator.limited:
        yield (
            f"WARNING: {generator.limited} requests waited for a free connection of the generator; "
            "raise --connections"
        )
    if late.p99 > _LATE_SECONDS or generator.cpu > _BUSY:
        yield (
            "WARNING: the load generator did not keep up, so these figures include its own delays; "
            "run it on another machine or raise --processes"
        )


def _goodput(summaries: Sequence[Summary]) -> Table:
    slo = f"SLO {milliseconds(summaries[0].slo)} ms"
    table = _table(slo, "requests", "offered/s", "served/s", "good/s", "goodput")
    for one in summaries:
        counts = (one.requests, one.served, one.good)
        rates = [f"{one.per_second(count):.1f}" for count in counts]
        table.add_row(f"{one.name}  {one.url}", str(one.requests), *rates, f"{one.goodput:.2%}")
    return table


def _latency(summaries: Sequence[Summary]) -> Table:
    table = _table("milliseconds", "n", *_HEADS)
    for one in summaries:
        table.add_section()
        table.add_row(*_row(f"{one.name}  latency", one.latency), style="bold")
        for state, values in one.by_cache.items():
            share = values.count / max(1, one.served)
            table.add_row(*_row(f"   cache {state} {share:.1%}", values))
        for stage, values in one.by_stage.items():
            table.add_row(*_row(f"   stage {stage}", values))
        for name, values in (("first token", one.first_token), ("between tokens", one.gaps)):
            if values.count:
                table.add_row(*_row(f"   {name}", values))
    return table


def _failures(summaries: Sequence[Summary]) -> Table:
    table = _table("failures", "status", "requests", "share")
    for one in summaries:
        for failure in one.failures:
            share = failure.count / max(1, one.requests)
            status = str(failure.status or "-")
            table.add_row(f"{one.name}  {failure.code}", status, str(failure.count), f"{share:.2%}")
    return table


def _compared(summaries: Sequence[Summary], comparison: Comparison) -> Table:
    first, second = (one.name for one in summaries)
    table = _table(f"{second} against {first}, {comparison.pairs} pairs", "times", "95% interval")
    for name, ratio in comparison.ratios.items():
        table.add_row(name, *ratio_texts(ratio))
    return table


def ratio_texts(ratio: Ratio | None) -> tuple[str, str]:
    """A ratio and its 95% interval, as texts."""
    if ratio is None:
        return "-", "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}", "too few pairs"
    return f"{ratio.value:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), title_justify="left")
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right")
    return table


def _row(name: str, values: Percentiles) -> list[str]:
    shown = (values.p50, values.p90, values.p99, values.p999, values.maximum)
    return [name, str(values.count), *(told(values, value, milliseconds) for value in shown)]
