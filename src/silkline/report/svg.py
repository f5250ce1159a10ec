"""SVG: scales with their ticks, a frame to draw in, and the interval of a difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

WIDTH = 1040
_INTERVAL_WIDTH, _INTERVAL_HEIGHT, _INTERVAL_MARGIN = 256, 28, 8
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
    parts: list[Markup] = field(default_factory=list)
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

    def rect(
        self, box: tuple[float, float, float, float], style: str, tip: str = "", **more: str
    ) -> None:
        """A rectangle: left, top, width, height; its class, a tip and further attributes."""
        placed = dict(zip(("x", "y", "width", "height"), map(_number, box), strict=True))
        body = _element("title", {}, tip) if tip else ""
        self.parts.append(_element("rect", {**placed, "class": style, **more}, body))

    def line(self, begin: Point, end: Point, style: str) -> None:
        """A straight line and its class."""
        ends = zip(("x1", "y1", "x2", "y2"), map(_number, (*begin, *end)), strict=True)
        self.parts.append(_element("line", {**dict(ends), "class": style}))

    def dot(self, at: Point, radius: float, style: str) -> None:
        """A filled circle: its centre, its radius and its class."""
        x, y, r = map(_number, (*at, radius))
        self.parts.append(_element("circle", {"cx": x, "cy": y, "r": r, "class": style}))

    def path(self, points: Iterable[Point], style: str, *, closed: bool = False) -> None:
        """A line through points, or the area that they enclose, and its class."""
        joined = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        name = "polygon" if closed else "polyline"
        if joined:
            self.parts.append(_element(name, {"points": joined, "class": style}))

    def text(self, at: Point, words: str, style: str, anchor: str = "start") -> None:
        """Words, their class, and which end of them is at the point: start, middle or end."""
        x, y = map(_number, at)
        attributes = {"x": x, "y": y, "class": style, "text-anchor": anchor}
        self.parts.append(_element("text", attributes, words))

    def y_axis(self, scale: Scale, labels: Iterable[tuple[float, str]], name: str) -> None:
        """Lines across, each with its label, and the axis' name above."""
        for value, label in labels:
            at = scale(value)
            self.line((self.left, at), (self.right, at), "grid")
            self.text((self.left - 9, at + 4), label, "tick", "end")
        self.text((self.left, self.top - 6), name, "axis")

    def x_axis(self, scale: Scale, labels: Iterable[tuple[float, str]], name: str) -> None:
        """Labels below, and the axis' name at the end."""
        for value, label in labels:
            at = scale(value)
            self.line((at, self.bottom), (at, self.bottom + 5), "mark")
            self.text((at, self.bottom + 19), label, "tick", "middle")
        end = (self.right, self.height - 4)
        self.text(end, name, "axis", "end")

    def limit(self, scale: Scale, value: float, label: str) -> None:
        """A line across at a value that must be kept, with its label below the right end."""
        at = scale(value)
        self.line((self.left, at), (self.right, at), "limit")
        self.text((self.right - 4, at + 14), label, "limit-name", "end")

    def render(self) -> Markup:
        """The SVG element."""
        label = f"{self.title}. {self.about}"
        box = f"0 0 {WIDTH} {self.height}"
        attributes = {"viewBox": box, "role": "img", "tabindex": "0", "aria-label": label}
        return _element("svg", attributes, Markup().join(self.parts))


def interval(
    value: float, low: float, high: float, reach: float, *, tone: str, label: str
) -> Markup:
    """A value and its interval on a scale from -`reach` to `reach`, with zero in the middle.

    `tone` is the class that gives the colour: up, down or empty.
    """
    scale = Scale(-reach, reach, _INTERVAL_MARGIN, _INTERVAL_WIDTH - _INTERVAL_MARGIN)
    zero, middle = _number(scale(0)), _number(_INTERVAL_HEIGHT / 2)
    ends = {"x1": _number(scale(low)), "x2": _number(scale(high)), "y1": middle, "y2": middle}
    across = {"x1": zero, "x2": zero, "y1": "0", "y2": str(_INTERVAL_HEIGHT)}
    point = {"cx": _number(scale(value)), "cy": middle, "r": "5.5"}
    box = f"0 0 {_INTERVAL_WIDTH} {_INTERVAL_HEIGHT}"
    attributes = {"class": f"interval {tone}", "viewBox": box, "role": "img", "aria-label": label}
    parts = (
        _element("line", {"class": "zero", **across}),
        _element("line", {"class": "range", **ends}),
        _element("circle", {"class": "point", **point}),
    )
    return _element("svg", attributes, Markup().join(parts))


def steps(edges: Sequence[float], heights: Sequence[float]) -> list[Point]:
    """The outline of bars: `edges` has one more than `heights`."""
    points: list[Point] = []
    for number, height in enumerate(heights):
        points += [(edges[number], height), (edges[number + 1], height)]
    return points


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _element(name: str, attributes: Mapping[str, str], body: str | None = None) -> Markup:
    """An element; the values of its attributes and a body that is no markup are escaped."""
    shown = Markup().join(Markup(' {}="{}"').format(*one) for one in attributes.items())
    end = Markup("/>") if body is None else Markup(">{}</{}>").format(body, name)
    return Markup("<{}{}{}").format(name, shown, end)
