"""The plots over all of a run: how latency is distributed, and where it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from silkline.bench.percentiles import ranked
from silkline.bench.record import Record
from silkline.bench.summary import OUTSIDE, in_order, stages_of
from silkline.core import Stage
from silkline.report.numbers import span
from silkline.report.plot import Hover, Plot, Series
from silkline.report.svg import Drawing, Scale

_BANDS = ((0.0, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 0.999), (0.999, 1.0))
_BAR, _GAP = 26, 12
_TOTAL_WIDTH = 80
_STEPS_A_NINE = 24
_MAX_NINES = 5
_ENOUGH = 10  # a percentile is drawn when at least so many requests are beyond it

Line = tuple[str, str, list[float]]
"""A name, its colour class and its values in order."""


def percentile_curves(title: str, lines: Sequence[Line], slo: float | None = None) -> Plot:
    """Latency by percentile, on a scale that gives each further nine as much room as the last.

    Lines without values are left out; at least one must have some.
    """
    lines = [line for line in lines if line[2]]
    about = (
        "How long the fastest so many percent took at most. To the right every label is ten times "
        "as rare as the one before; a line ends where fewer than ten requests are left."
    )
    drawing = Drawing(320, title, about)
    ends = [end for _, _, values in lines for end in (values[0], values[-1])]
    ends += [slo] if slo else []
    low = max(1e-5, min(ends) * 0.9)
    y = drawing.y(low, max(max(ends) * 1.15, low * 10), log=True)
    drawing.y_axis(y, [(tick, span(tick)) for tick in y.ticks(7)], "at most")
    maximum = max(_nines(len(values)) for _, _, values in lines)
    x = drawing.x(0, maximum)
    names = ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%"]
    at = [0.0, *(float(n) for n in range(1, _MAX_NINES + 1)), math.log10(2)]
    ticks = [one for one in zip(at, [*names, "50%"], strict=True) if one[0] <= maximum + 1e-9]
    drawing.x_axis(x, ticks, "percentile")
    for tick, _ in ticks:
        drawing.line((x(tick), drawing.top), (x(tick), drawing.bottom), "grid faint")
    stops = [n / _STEPS_A_NINE for n in range(math.ceil(maximum * _STEPS_A_NINE) + 1)]
    shown = []
    for name, colour, values in lines:
        curve = [(x(stop), y(_at(values, stop))) for stop in stops if stop <= _nines(len(values))]
        drawing.path(curve, f"line {colour}")
        shown.append(Series(name, colour, [_told(values, stop) for stop in stops]))
    if slo:
        drawing.limit(y, slo, f"SLO {span(slo)}")
    labels = [f"P{100 * _share(stop):.6g}" for stop in stops]
    legend = [(colour, name) for name, colour, _ in lines]
    hover = Hover([x(stop) for stop in stops], labels, shown)
    return Plot(title, about, drawing.render(), legend, hover, "percentile")


def stages(records: Sequence[Record], name: str) -> Plot | None:
    """Where the time of fast and of slow requests goes; None where no stages were reported."""
    told = sorted((one for one in records if one.ok and one.stages), key=lambda one: one.latency)
    if not told:
        return None
    bands = [
        (low, high, part)
        for low, high in _BANDS
        if (part := told[math.ceil(len(told) * low) : math.ceil(len(told) * high)])
    ]
    means = [_mean_stages(part) for _, _, part in bands]
    order = in_order(stage for mean in means for stage in mean)
    title = f"Where the time goes{f', {name.strip()}' if name else ''}"
    about = (
        "The stages' shares of the mean latency, which stands at the end of each bar, from the "
        "fastest half of the answers to the slowest thousandth. "
        "Outside: waiting to be sent, the network, and what the server does not report."
    )
    drawing = Drawing(58 + len(bands) * (_BAR + _GAP), title, about, left=130)
    x = Scale(0, 1, drawing.left, drawing.right - _TOTAL_WIDTH)
    ticks = [(tick, f"{tick:.0%}") for tick in (0, 0.25, 0.5, 0.75, 1)]
    drawing.x_axis(x, ticks, "")
    for row, ((low, high, part), mean) in enumerate(zip(bands, means, strict=True)):
        _bar(drawing, x, row, (f"P{low * 100:g} to {high * 100:g}", len(part)), order, mean)
    legend = [(f"stage-{_class(stage)}", stage) for stage in order]
    return Plot(title, about, drawing.render(), legend, None)


def _bar(
    drawing: Drawing,
    x: Scale,
    row: int,
    label: tuple[str, int],
    order: Sequence[str],
    mean: dict[str, float],
) -> None:
    top, at = drawing.top + 4 + row * (_BAR + _GAP), x.low
    words, count = label
    total = sum(mean.values()) or 1.0
    drawing.text((drawing.left - 10, top + 12), words, "tick", "end")
    drawing.text((drawing.left - 10, top + 25), f"{count} answers", "fine", "end")
    for stage in order:
        seconds = mean.get(stage, 0.0)
        left, right = x(at), x(at + seconds / total)
        at += seconds / total
        if right - left > 0.05:  # noqa: PLR2004 - below, nothing would be seen
            tip = f"{words}, {stage}: {span(seconds)}"
            box = (left, float(top), right - left, float(_BAR))
            drawing.rect(box, f"fill stage-{_class(stage)}", tip)
    drawing.text((x(1.0) + 10, top + _BAR * 0.68), span(total), "total")


def _mean_stages(records: Sequence[Record]) -> dict[str, float]:
    total: dict[str, float] = {}
    for record in records:
        for stage, seconds in stages_of(record).items():
            total[stage] = total.get(stage, 0.0) + seconds / len(records)
    return total


def _class(stage: str) -> str:
    known = {one.value for one in Stage} | {OUTSIDE}
    return stage if stage in known else "other"


def _share(nines: float) -> float:
    return float(1 - 10**-nines)


def _nines(count: int) -> float:
    """How far a curve of so many values is drawn."""
    return min(float(_MAX_NINES), max(math.log10(2), math.log10(max(1.0, count / _ENOUGH))))


def _at(values: list[float], nines: float) -> float:
    return ranked(values, _share(nines))


def _told(values: list[float], nines: float) -> str:
    return span(_at(values, nines)) if nines <= _nines(len(values)) + 1e-9 else "too few"
