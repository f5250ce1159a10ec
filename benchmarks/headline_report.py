"""The report of `headline`, for people."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from silkline.bench.spec import Spec
from silkline.bench.summary import Percentiles, Summary

NAIVE_STEP = 1.25
"""How much each step of the search asks for more than the one before."""


class Side(msgspec.Struct, frozen=True):
    """One of the two.

    Attributes:
        rate: Requests a second that were offered, outside of bursts.
        seconds: For how long.
        held: Whether nothing failed and 99% were answered in time.
        summary: All figures.
        cpu_ms: Processor milliseconds of a request, those of the warm-up included, by process.
    """

    rate: float
    seconds: float
    held: bool
    summary: Summary
    cpu_ms: dict[str, float]


class Headline(msgspec.Struct, frozen=True):
    """Everything that one run of `headline` found.

    Attributes:
        steps: The search for the naive design's load: rate, whether it was held, P99 in seconds.
        burst_p99: The gateway's P99 in seconds in bursts and outside of them.
    """

    command: str
    date: str
    machine: dict[str, str]
    model: str
    spec: Spec
    gateway: Side
    naive: Side | None
    steps: list[tuple[float, bool, float]]
    burst_p99: dict[str, float]


def markdown(report: Headline) -> str:
    """The report as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Headline) -> Iterator[str]:
    yield from (f"# Headline, {report.model}, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    traffic, arrivals = report.spec.traffic, report.spec.arrivals
    yield (
        f"- traffic: Zipf({traffic.zipf:g}) over {traffic.catalogue} pictures of "
        f"{traffic.pixels} x {traffic.pixels} pixels, {traffic.new:.0%} new, uploads"
    )
    if (burst := arrivals.burst) is not None:
        yield f"- bursts: {burst.factor:g} x for {burst.seconds:g} s every {burst.every:g} s"
    yield f"- asked for before the clock started: {report.spec.warm} most popular pictures"
    sides = {"gateway": report.gateway}
    if report.naive is not None:
        sides["naive design, no bursts"] = report.naive
    yield from ("", *_table(_HEAD, [_row(name, side) for name, side in sides.items()]), "")
    yield "Latency counts from the time at which a request was due, see docs/bench.md."
    for name, value in report.burst_p99.items():
        yield f"- gateway, P99 {name}: {value * 1000:.0f} ms"
    yield from ("", "## By cache and by stage, gateway, ms", "")
    found = report.gateway.summary
    parts = {f"cache {name}": values for name, values in found.by_cache.items()}
    parts |= {f"stage {name}": values for name, values in found.by_stage.items()}
    rows = [[name, str(values.count), *_ms(values)] for name, values in parts.items()]
    yield from _table(["", "n", "P50", "P90", "P99", "P99.9", "max"], rows)
    yield from ("", "## Where the processor time goes, ms of one core a request", "")
    for name, side in sides.items():
        spent = ", ".join(f"{process} {ms:.2f}" for process, ms in side.cpu_ms.items())
        yield f"- {name}: {spent}; load {side.summary.generator.cpu:.0%} of a core"
        for failure in side.summary.failures:
            yield f"  - failed: {failure.count} x {failure.status} {failure.code}"
    if report.steps:
        yield from ("", "## The naive design's load, step by step", "")
        steps = [
            [f"{rate:.1f}", "yes" if held else "no", f"{p99 * 1000:.0f}"]
            for rate, held, p99 in report.steps
        ]
        yield from _table(["requests/s", "held", "P99, ms"], steps)


_HEAD = [
    *("", "offered/s", "for, s", "requests", "failed", "held", "good/s", "goodput"),
    *("P50, ms", "P90", "P99", "P99.9", "max"),
]


def _row(name: str, side: Side) -> list[str]:
    found = side.summary
    return [
        name,
        f"{found.per_second(found.requests):.1f}",
        f"{side.seconds:g}",
        str(found.requests),
        str(found.requests - found.served),
        "yes" if side.held else "NO",
        f"{found.per_second(found.good):.1f}",
        f"{found.goodput:.2%}",
        *_ms(found.latency),
    ]


def _ms(found: Percentiles) -> list[str]:
    values = (found.p50, found.p90, found.p99, found.p999, found.maximum)
    return [f"{value * 1000:.1f}" for value in values]


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
