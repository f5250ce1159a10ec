"""Painting of parts into a role map: the geometry layer under every item.

An item is painted as parts; a part is a filled outline that carries a *role* (body, metal,
screen ...) instead of a colour. All items of a picture share one role map (mode "L"), which the
scene turns into colours afterwards. That keeps the drawing cheap and gives exact masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]

EMPTY, BODY, SHADE, TINT, DARK, LIGHT, METAL, WOOD, GLASS, LEAF = range(10)
"""Roles: nothing, patterned main surface, darker and lighter main colour, then materials."""
ROLE_COUNT = 10


@dataclass(frozen=True)
class Pose:
    """Where and how an item is placed; lengths in pixels of the role map, angle in radians."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle: float
    flipped: bool


class Pen:
    """Paints parts given in item coordinates ([-1, 1] in both axes, y down) into a role map."""

    def __init__(self, role_map: Image.Image, pose: Pose, rng: np.random.Generator) -> None:
        """Bind to ``role_map`` (mode "L", changed in place), a pose and a random source."""
        self._draw = ImageDraw.Draw(role_map)
        self._rng = rng
        cos, sin = math.cos(pose.angle), math.sin(pose.angle)
        sx = -pose.half_width if pose.flipped else pose.half_width
        sy = pose.half_height
        self._matrix = (cos * sx, -sin * sy, pose.x, sin * sx, cos * sy, pose.y)
        self._unit = math.sqrt(pose.half_width * pose.half_height)

    def uniform(self, low: float, high: float) -> float:
        """Draw a shape parameter between ``low`` and ``high``."""
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        """Decide a variant."""
        return bool(self._rng.random() < probability)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        a, b, c, d, e, f = self._matrix
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def poly(self, points: Sequence[Point], role: int = BODY) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._place(points), fill=role)

    def blob(self, points: Sequence[Point], role: int = BODY) -> None:
        """Fill a smooth closed outline through ``points`` (Catmull-Rom)."""
        self.poly(smooth(points), role)

    def oval(self, x: float, y: float, rx: float, ry: float, role: int = BODY) -> None:
        """Fill an ellipse around (``x``, ``y``)."""
        self.poly(arc_points(x, y, rx, ry, 0.0, 360.0, 24), role)

    def box(
        self, left: float, top: float, right: float, bottom: float, role: int = BODY,
        corner: float = 0.0,
    ) -> None:  # fmt: skip
        """Fill a rectangle whose corners are rounded by ``corner``."""
        if corner <= 0.0:
            self.poly([(left, top), (right, top), (right, bottom), (left, bottom)], role)
            return
        r = min(corner, (right - left) / 2, (bottom - top) / 2)
        points: list[Point] = []
        for cx, cy, start in (
            (right - r, top + r, 270.0), (right - r, bottom - r, 0.0),
            (left + r, bottom - r, 90.0), (left + r, top + r, 180.0),
        ):  # fmt: skip
            points += arc_points(cx, cy, r, r, start, start + 90.0, 4)
        self.poly(points, role)

    def line(self, points: Sequence[Point], width: float, role: int = BODY) -> None:
        """Stroke a line; ``width`` in item units, never thinner than one pixel."""
        pixels = max(1, round(width * self._unit))
        placed = self._place(points)
        self._draw.line(placed, fill=role, width=pixels, joint="curve")

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float,
        role: int = BODY,
    ) -> None:  # fmt: skip
        """Stroke an elliptic arc from ``start`` to ``end`` degrees (0 is right, 90 is down)."""
        self.line(arc_points(x, y, rx, ry, start, end, 16), width, role)


def arc_points(
    x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int
) -> list[Point]:
    """Return ``steps`` + 1 points on an elliptic arc (degrees, clockwise on the screen)."""
    first, span = math.radians(start), math.radians(end - start)
    angles = [first + span * i / steps for i in range(steps + 1)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in angles]


def smooth(points: Sequence[Point], steps: int = 5) -> list[Point]:
    """Return a closed Catmull-Rom curve through ``points``, ``steps`` samples a segment."""
    p1: NDArray[np.float64] = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def mirrored(right_side: Sequence[Point]) -> list[Point]:
    """Close an outline by mirroring its right side (top to bottom) about x = 0."""
    return [*right_side, *((-x, y) for x, y in reversed(right_side))]
