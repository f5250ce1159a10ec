"""What a plot is: a picture, its legend, what it says under the pointer, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from silkline.bench.report.svg import Drawing, Scale
from silkline.bench.spec import Spec

SIDES = ("a", "b")
"""The colour classes of the first and the second target."""


class Series(msgspec.Struct, frozen=True):
    """One thing that is drawn, as the pointer's label shows it.

    Attributes:
        name: In words.
        colour: Its colour class.
        texts: What it is at each stop.
    """

    name: str
    colour: str
    texts: list[str]


class Hover(msgspec.Struct, frozen=True):
    """What a plot says under the pointer.

    Attributes:
        x: Pixels of the stops, ascending.
        labels: What each stop is.
        series: What is drawn.
    """

    x: list[float]
    labels: list[str]
    series: list[Series]


class Plot(msgspec.Struct, frozen=True):
    """One plot of the report.

    Attributes:
        title: What it shows.
        about: How to read it, in a sentence.
        svg: The picture.
        legend: Colour class and name of what is drawn.
        hover: What the pointer says; its texts are the table below the plot, too.
        stop: What a stop of the pointer is, the head of that table's first column.
    """

    title: str
    about: str
    svg: str
    legend: list[tuple[str, str]]
    hover: Hover | None
    stop: str = "time"


def names(spec: Spec) -> list[str]:
    """The targets' names, empty for a single one."""
    return [f"{one.name} " if len(spec.targets) > 1 else "" for one in spec.targets]


def span(seconds: float) -> str:
    """A time for a label: `250 µs`, `2.5 ms`, `340 ms`, `1.2 s`, `4 min`, `1 h 30 min`."""
    for unit, name in ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s")):
        value = float(f"{seconds / unit:.3g}")
        if value < (60 if name == "s" else 1000):
            return f"{value:g} {name}"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock(seconds: float) -> str:
    """A moment of a run: `7.5 s`, `2:30`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:g} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:02.0f}"


def slo_line(drawing: Drawing, y: Scale, slo: float) -> None:
    """Draws the SLO across a plot of latencies, with its name below the line's right end."""
    drawing.line((drawing.left, y(slo)), (drawing.right, y(slo)), 'class="slo"')
    at = (drawing.right - 4, y(slo) + 14)
    drawing.text(at, f"SLO {span(slo)}", 'class="slo-name" text-anchor="end"')


def thinned(count: int, maximum: int) -> Sequence[int]:
    """At most so many of the numbers below `count`, evenly."""
    return range(0, count, max(1, -(-count // maximum)))
