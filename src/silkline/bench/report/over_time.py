"""The plots along the run: rates, latency, cache states, failures."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from silkline.bench.percentiles import ranked
from silkline.bench.report.timeline import Bin, Timeline
from silkline.report.numbers import clock, span
from silkline.report.plot import SIDES, Hover, Plot, Series
from silkline.report.svg import Drawing, Scale, steps

_HEAT_ROWS = 44
_FAINTEST = 0.12
_TIME_TICKS = 10
_MINUTE = 60
_LABEL_HEIGHT, _LABEL_ROWS = 14, 3
_CLOCK_STEPS = (10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)

STATES = ("hit", "coalesced", "near", "miss", "bypass", "untold")
"""Cache states from best to worst, as they are stacked."""


def rates(lines: Sequence[Timeline], names: Sequence[str]) -> Plot:
    """Offered, served and good answers a second."""
    title, about = (
        "Offered, served, good",
        (
            "Requests a second: what was due, what was answered, what was answered within the SLO. "
            "Where the colour leaves grey free, requests were slow or failed."
        ),
    )
    drawing = Drawing(250, title, about)
    first = lines[0]
    offered = [first.rate(n, one.offered) for n, one in enumerate(first.bins)]
    good = [[line.rate(n, one.good) for n, one in enumerate(line.bins)] for line in lines]
    served = [[line.rate(n, one.served) for n, one in enumerate(line.bins)] for line in lines]
    maximum = max(1.0, *offered, *(value for side in served for value in side))
    x, y = drawing.x(0, first.seconds), drawing.y(0, maximum * 1.06)
    drawing.y_axis(y, [(tick, f"{tick:g}") for tick in y.ticks(5)], "requests/s")
    _time_axis(drawing, x)
    edges = [x(edge) for edge in first.edges]
    _area(drawing, edges, [y(value) for value in offered], "offered")
    for side, colour in zip(good, SIDES, strict=False):
        heights = [y(value) for value in side]
        if len(lines) == 1:
            _area(drawing, edges, heights, f"area {colour}")
        drawing.path(steps(edges, heights), f"line {colour}")
    _marks(drawing, first, x)
    shown = [Series("offered", "grey", [f"{value:.1f}" for value in offered])]
    for name, colour, one, other in zip(names, SIDES, served, good, strict=False):
        shown.append(Series(f"{name}served", "", [f"{value:.1f}" for value in one]))
        shown.append(Series(f"{name}good", colour, [f"{value:.1f}" for value in other]))
    legend = [("grey", "offered"), *((c, f"{n}good") for n, c in zip(names, SIDES, strict=False))]
    return Plot(title, about, drawing.render(), legend, _hover(first, x, shown))


def latency(line: Timeline, name: str, side: int, slo: float, scale: tuple[float, float]) -> Plot:
    """A heat map of latencies, with the median and the 99th percentile."""
    title = f"Latency over time{f', {name.strip()}' if name else ''}"
    about = (
        "Each column is a piece of time; the stronger a cell, the more of its requests took so "
        "long. Lines: P50 and P99. Latency counts from the time at which a request was due."
    )
    drawing = Drawing(320, title, about)
    x, y = drawing.x(0, line.seconds), drawing.y(*scale, log=True)
    drawing.y_axis(y, [(tick, span(tick)) for tick in y.ticks(7)], "latency")
    _time_axis(drawing, x)
    colour = SIDES[side]
    _heat(drawing, line, x, y, colour)
    drawing.limit(y, slo, f"SLO {span(slo)}")
    filled = [number for number, one in enumerate(line.bins) if one.latencies]
    edges = line.edges
    middles = [x((edges[n] + edges[n + 1]) / 2) for n in filled]
    shown = [Series("requests", "", [str(line.bins[n].offered) for n in filled])]
    for words, share, style in (("P50", 0.5, "median"), ("P99", 0.99, "tail")):
        values = [ranked(line.bins[n].latencies, share) for n in filled]
        points = dict(zip(filled, zip(middles, map(y, values), strict=True), strict=True))
        for together in _neighbours(filled):
            drawing.path([points[n] for n in together], f"line {style}")
        shown.append(Series(words, style, [span(value) for value in values]))
    shown.append(Series("max", "", [span(line.bins[n].latencies[-1]) for n in filled]))
    _marks(drawing, line, x)
    labels = [clock(edges[n]) for n in filled]
    legend = [("median", "P50"), ("tail", "P99"), (f"heat {colour}", "requests")]
    return Plot(title, about, drawing.render(), legend, Hover(middles, labels, shown))


def latency_range(lines: Sequence[Timeline], slo: float) -> tuple[float, float]:
    """The scale that all latencies and the SLO fit on, in whole steps."""
    ends = [slo]
    for line in lines:
        for one in line.bins:
            ends += one.latencies[:1] + one.latencies[-1:]
    low, high = min(ends) * 0.9, max(ends) * 1.15
    return max(1e-5, low), max(high, low * 10)


def cache(line: Timeline, name: str) -> Plot | None:
    """Shares of the cache states; None where the server told of none."""
    present = [state for state in STATES if any(one.states[state] for one in line.bins)]
    if present in ([], ["untold"]):
        return None
    title = f"Where answers came from{f', {name.strip()}' if name else ''}"
    about = "The share of each cache state among the answers to what was due at the time."

    def parts(one: Bin) -> dict[str, float]:
        total = max(1, one.states.total())
        return {state: one.states[state] / total for state in present}

    colours = [(state, f"state-{state}") for state in present]
    drawing = Drawing(200, title, about)
    y = drawing.y(0, 1)
    drawing.y_axis(y, [(tick, f"{tick:.0%}") for tick in (0, 0.25, 0.5, 0.75, 1)], "share")
    return _stacked(drawing, line, y, colours, parts, "{:.1%}")


def failures(line: Timeline, name: str) -> Plot | None:
    """Failures a second by code; None where nothing failed."""
    codes = Counter[str]()
    for one in line.bins:
        codes.update(one.failures)
    if not codes:
        return None
    title = f"Failures{f', {name.strip()}' if name else ''}"
    about = "Requests a second that failed, by their code, at the time at which they ended."
    colours = [(code, f"fail-{n % 5}") for n, (code, _) in enumerate(codes.most_common())]

    def parts(one: Bin) -> dict[str, float]:
        return {code: count / line.width for code, count in one.failures.items()}

    drawing = Drawing(200, title, about)
    maximum = max(sum(one.failures.values()) / line.width for one in line.bins)
    y = drawing.y(0, maximum * 1.06)
    drawing.y_axis(y, [(tick, f"{tick:g}") for tick in y.ticks(4)], "failures/s")
    return _stacked(drawing, line, y, colours, parts, "{:.1f}")


def _stacked(
    drawing: Drawing,
    line: Timeline,
    y: Scale,
    colours: Sequence[tuple[str, str]],
    parts: Callable[[Bin], Mapping[str, float]],
    form: str,
) -> Plot:
    """Finishes a plot with areas on top of each other; `colours` are names and classes."""
    x = drawing.x(0, line.seconds)
    edges = [x(edge) for edge in line.edges]
    shares = [parts(one) for one in line.bins]
    below = [0.0] * len(shares)
    for name, colour in colours:
        above = [low + one.get(name, 0.0) for low, one in zip(below, shares, strict=True)]
        outline = steps(edges, [y(value) for value in above])
        outline += reversed(steps(edges, [y(value) for value in below]))
        drawing.path(outline, f"fill {colour}", closed=True)
        below = above
    _time_axis(drawing, x)
    _marks(drawing, line, x)
    shown = [
        Series(name, colour, [form.format(one.get(name, 0.0)) for one in shares])
        for name, colour in colours
    ]
    legend = [(colour, name) for name, colour in colours]
    return Plot(drawing.title, drawing.about, drawing.render(), legend, _hover(line, x, shown))


def _neighbours(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Ascending numbers in groups without gaps: a line ends where nothing was answered."""
    group: list[int] = []
    for number in numbers:
        if group and number != group[-1] + 1:
            yield group
            group = []
        group.append(number)
    yield group


def _heat(drawing: Drawing, line: Timeline, x: Scale, y: Scale, colour: str) -> None:
    height = (drawing.bottom - drawing.top) / _HEAT_ROWS
    columns = [
        Counter(
            min(_HEAT_ROWS - 1, int((y(value) - drawing.top) / height)) for value in one.latencies
        )
        for one in line.bins
    ]
    maximum = max(count for rows in columns for count in (0, *rows.values())) or 1
    edges = line.edges
    for number, rows in enumerate(columns):
        left, right = x(edges[number]), x(edges[number + 1])
        for row, count in rows.items():
            shade = _FAINTEST + (1 - _FAINTEST) * math.sqrt(count / maximum)
            box = (left, drawing.top + row * height, right - left, height)
            drawing.rect(box, f"cell {colour}", opacity=f"{shade:.2f}")


def _area(drawing: Drawing, edges: Sequence[float], heights: Sequence[float], style: str) -> None:
    outline = steps(edges, heights)
    outline += [(edges[-1], drawing.bottom), (edges[0], drawing.bottom)]
    drawing.path(outline, style, closed=True)


def _time_axis(drawing: Drawing, x: Scale) -> None:
    ticks = x.ticks(_TIME_TICKS)
    if x.high > _MINUTE:
        step = next((one for one in _CLOCK_STEPS if x.high / one <= _TIME_TICKS), _CLOCK_STEPS[-1])
        ticks = [float(step * number) for number in range(int(x.high / step) + 1)]
    drawing.x_axis(x, [(tick, clock(tick)) for tick in ticks], "")


def _marks(drawing: Drawing, line: Timeline, x: Scale) -> None:
    """A line down at each mark, with its label; neighbours have theirs at different heights."""
    for number, (at, label) in enumerate(line.marks):
        drawing.line((x(at), drawing.top), (x(at), drawing.bottom), "moment")
        height = drawing.top + 12 + _LABEL_HEIGHT * (number % _LABEL_ROWS)
        drawing.text((x(at) + 4, height), label, "moment-name")


def _hover(line: Timeline, x: Scale, series: list[Series]) -> Hover:
    edges = line.edges
    middles = [x((one + other) / 2) for one, other in itertools.pairwise(edges)]
    return Hover(middles, [clock(edge) for edge in edges[:-1]], series)
