"""A little SVG: scales with their ticks, and a frame to draw in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 1040
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 18, 18, 40
_ROUND_STEPS = (1, 2, 2.5, 5, 10)
_SUB_DECADES = (1, 2, 5)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels; `begin` is where `low` is."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside are moved to the edge."""
        share = (self._bent(value) - self._bent(self.low)) / (
            self._bent(self.high) - self._bent(self.low) or 1.0
        )
        return self.begin + (self.end - self.begin) * min(1.0, max(0.0, share))

    def ticks(self, about: int) -> list[float]:
        """Round values, about so many; on a logarithmic scale 1, 2 and 5 of each decade."""
        if not self.log:
            return _round_ticks(self.low, self.high, about)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        parts = _SUB_DECADES if len(decades) * len(_SUB_DECADES) <= 2 * about else (1,)
        found = [part * 10.0**decade for decade in decades for part in parts]
        return [tick for tick in found if self.low * 0.999 <= tick <= self.high * 1.001]

    def _bent(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


def _round_ticks(low: float, high: float, about: int) -> list[float]:
    raw = (high - low) / max(1, about) or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * one for one in _ROUND_STEPS if power * one >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(slots=True)
class Drawing:
    """An SVG picture that grows; coordinates are pixels of its `viewBox`."""

    height: int
    title: str
    about: str
    parts: list[str] = field(default_factory=list)
    left: int = _LEFT

    @property
    def right(self) -> int:
        """Where the drawing area ends."""
        return WIDTH - _RIGHT

    @property
    def top(self) -> int:
        """Where it begins, from above."""
        return _TOP

    @property
    def bottom(self) -> int:
        """Where it ends."""
        return self.height - _BOTTOM

    def x(self, low: float, high: float) -> Scale:
        """A horizontal scale over the whole area."""
        return Scale(low, high, self.left, self.right)

    def y(self, low: float, high: float, *, log: bool = False) -> Scale:
        """A vertical scale over the whole area."""
        return Scale(low, high, self.bottom, self.top, log)

    def rect(self, box: tuple[float, float, float, float], style: str, tip: str = "") -> None:
        """A rectangle: left, top, width, height; `style` is a class and further attributes."""
        x, y, width, height = (_number(value) for value in box)
        body = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {style}>{body}</rect>'
        )

    def line(self, begin: Point, end: Point, style: str) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = begin, end
        ends = zip(("x1", "y1", "x2", "y2"), (x1, y1, x2, y2), strict=True)
        placed = " ".join(f'{name}="{_number(value)}"' for name, value in ends)
        self.parts.append(f"<line {placed} {style}/>")

    def path(self, points: Iterable[Point], style: str, *, closed: bool = False) -> None:
        """A line through points, or the area that they enclose."""
        joined = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        name = "polygon" if closed else "polyline"
        if joined:
            self.parts.append(f'<{name} points="{joined}" {style}/>')

    def text(self, at: Point, words: str, style: str) -> None:
        """Words; `style` is a class and further attributes."""
        x, y = (_number(value) for value in at)
        self.parts.append(f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>')

    def y_axis(self, scale: Scale, labels: Iterable[tuple[float, str]], name: str) -> None:
        """Lines across, each with its label, and the axis' name above."""
        for value, label in labels:
            at = scale(value)
            self.line((self.left, at), (self.right, at), 'class="grid"')
            self.text((self.left - 9, at + 4), label, 'class="tick" text-anchor="end"')
        self.text((self.left, self.top - 6), name, 'class="axis"')

    def x_axis(self, scale: Scale, labels: Iterable[tuple[float, str]], name: str) -> None:
        """Labels below, and the axis' name at the end."""
        for value, label in labels:
            at = scale(value)
            self.line((at, self.bottom), (at, self.bottom + 5), 'class="mark"')
            self.text((at, self.bottom + 19), label, 'class="tick" text-anchor="middle"')
        end = (self.right, self.height - 4)
        self.text(end, name, 'class="axis" text-anchor="end"')

    def render(self) -> str:
        """The SVG element."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" tabindex="0" '
            f'aria-label="{escape(self.title)}. {escape(self.about)}">{"".join(self.parts)}</svg>'
        )


def steps(edges: Sequence[float], heights: Sequence[float]) -> list[Point]:
    """The outline of bars: `edges` has one more than `heights`."""
    points: list[Point] = []
    for number, height in enumerate(heights):
        points += [(edges[number], height), (edges[number + 1], height)]
    return points


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
