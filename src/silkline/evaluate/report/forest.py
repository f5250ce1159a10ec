"""Intervals of differences, drawn one a row on a scale that all rows of a table share."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from silkline.evaluate.report.numbers import change
from silkline.evaluate.results import Difference

_WIDTH, _HEIGHT, _MARGIN = 256, 28, 8
_MIN_REACH = 0.02
"""The scale never shows less than two points to a side, or noise would look like an effect."""


def reach_of(differences: Iterable[Difference], highest: dict[str, float]) -> float:
    """How far to either side the scale must go, as a share of the metrics' highest values."""
    ends = (max(-one.low, one.high) / highest[one.metric] for one in differences)
    return max(_MIN_REACH, *ends)


def forest(one: Difference, reach: float, highest: float, *, clear: bool) -> str:
    """The interval of a difference as SVG, zero in the middle; in colour where it is clear."""

    def at(value: float) -> float:
        share = min(1.0, max(-1.0, value / highest / reach))
        return round(_WIDTH / 2 + share * (_WIDTH / 2 - _MARGIN), 1)

    middle = _HEIGHT / 2
    told = (
        f"{change(one.difference, highest)}, 95% interval {change(one.low, highest)} to "
        f"{change(one.high, highest)}"
    )
    return (
        f'<svg class="forest {direction(one, clear=clear)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{escape(told)}">'
        f'<line class="zero" x1="{_WIDTH / 2:g}" x2="{_WIDTH / 2:g}" y1="0" y2="{_HEIGHT}"/>'
        f'<line class="range" x1="{at(one.low)}" x2="{at(one.high)}" y1="{middle:g}" '
        f'y2="{middle:g}"/>'
        f'<circle class="point" cx="{at(one.difference)}" cy="{middle:g}" r="5.5"/></svg>'
    )


def direction(one: Difference, *, clear: bool) -> str:
    """The class of a difference: up, down, or none where it is not clear."""
    if not clear:
        return ""
    return "down" if one.difference < 0 else "up"


def axis(reach: float) -> str:
    """The head of a column of intervals: the ends of its scale."""
    end = f"{reach * 100:.0f}"
    return (
        f"<span class='axis'><span>\N{MINUS SIGN}{end}</span><span>0</span>"
        f"<span>+{end}</span></span>"
    )
