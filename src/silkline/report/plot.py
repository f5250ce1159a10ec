"""What a plot is: its SVG, its legend, and its values under the pointer and in a table."""

from __future__ import annotations

import msgspec
from markupsafe import Markup

SIDES = ("a", "b")
"""The colour classes of A and B."""


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
    """What a plot shows under the pointer.

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
        svg: The drawing.
        legend: Colour class and name of what is drawn.
        hover: What the pointer shows; the table below the plot shows the same texts.
        stop: What a stop of the pointer is, the head of that table's first column.
    """

    title: str
    about: str
    svg: Markup
    legend: list[tuple[str, str]]
    hover: Hover | None
    stop: str = "time"
