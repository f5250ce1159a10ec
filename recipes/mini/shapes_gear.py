"""Electronic gear. Every function paints one item into the unit box of its pen."""

from __future__ import annotations

from recipes.mini.pen import BODY, DARK, GLASS, LIGHT, METAL, SHADE, TINT, Pen


def laptop(pen: Pen) -> None:
    """An open laptop: framed screen above a keyboard deck."""
    half, hinge = pen.uniform(0.68, 0.78), pen.uniform(0.2, 0.3)
    frame = pen.uniform(0.11, 0.15)
    pen.box(-half, -0.75, half, hinge, BODY, 0.07)
    pen.box(-half + frame, -0.75 + frame, half - frame, hinge - frame,
            GLASS if pen.chance(0.6) else DARK, 0.02)  # fmt: skip
    pen.poly([(-half, hinge), (half, hinge), (1.0, 0.75), (-1.0, 0.75)])
    pen.poly([(-1.0, 0.75), (1.0, 0.75), (1.0, 0.84), (-1.0, 0.84)], SHADE)
    for row in range(3):
        y = hinge + 0.1 + 0.1 * row
        edge = half * 0.86 + 0.06 * row
        pen.line([(-edge, y), (edge, y)], 0.06, DARK)
    pen.box(-0.2, hinge + 0.38, 0.2, 0.71, SHADE)


def phone(pen: Pen) -> None:
    """A phone from behind (camera bump) or from the front (screen in a coloured frame)."""
    half = pen.uniform(0.45, 0.54)
    corner = pen.uniform(0.1, 0.18)
    pen.box(-half, -1.0, half, 1.0, SHADE, corner)
    pen.box(-half + 0.04, -0.97, half - 0.04, 0.97, BODY, corner)
    if pen.chance(0.65):
        pen.box(-half + 0.1, -0.9, 0.05, pen.uniform(-0.45, -0.35), SHADE, 0.1)
        for x, y in ((-half + 0.25, -0.77), (-half + 0.25, -0.52), (-0.08, -0.65)):
            pen.oval(x, y, 0.1, 0.1, DARK)
            pen.oval(x, y, 0.04, 0.04, GLASS)
        return
    pen.box(-half + 0.13, -0.78, half - 0.13, 0.62, GLASS if pen.chance(0.5) else DARK, 0.03)
    pen.oval(0, 0.8, 0.1, 0.1, LIGHT)
    pen.line([(-0.14, -0.87), (0.14, -0.87)], 0.05, DARK)
    for row in range(3):
        for x in (-0.18, 0.02, 0.22):
            pen.box(x - 0.07, -0.6 + row * 0.3, x + 0.07, -0.42 + row * 0.3, LIGHT)


def headphones(pen: Pen) -> None:
    """Over-ear headphones: wide headband and two cups."""
    rx, band = pen.uniform(0.66, 0.76), pen.uniform(0.17, 0.24)
    top = pen.uniform(0.8, 0.95)
    pen.arc(0, 0.2, rx, top, 180, 360, band)
    cup = pen.uniform(0.22, 0.28)
    for side in (-1, 1):
        pen.oval(side * (rx - 0.14), 0.4, cup * 0.7, 0.42, DARK)
        pen.oval(side * (rx + 0.02), 0.4, cup, 0.44)
        pen.oval(side * (rx + 0.06), 0.4, cup * 0.45, 0.22, SHADE)


def camera(pen: Pen) -> None:
    """A camera from the front: body, view finder hump, lens."""
    top, bottom = pen.uniform(-0.5, -0.4), pen.uniform(0.6, 0.72)
    hump = pen.uniform(0.25, 0.35)
    shift = pen.uniform(-0.1, 0.15)
    pen.poly(
        [
            (shift - hump, top),
            (shift - hump * 0.7, top - 0.28),
            (shift + hump * 0.7, top - 0.28),
            (shift + hump, top),
        ],
        SHADE,
    )
    pen.box(-0.8, top - 0.14, -0.5, top + 0.05, METAL, 0.03)
    pen.box(-1.0, top, 1.0, bottom, BODY, 0.12)
    radius = pen.uniform(0.38, 0.46)
    y = (top + bottom) / 2 + 0.03
    pen.oval(shift, y, radius + 0.06, radius + 0.06, METAL)
    pen.oval(shift, y, radius, radius, DARK)
    pen.oval(shift, y, radius * 0.62, radius * 0.62, GLASS)
    pen.oval(shift, y, radius * 0.3, radius * 0.3, DARK)
    pen.oval(shift - 0.12, y - 0.12, 0.06, 0.06, LIGHT)
    pen.box(0.66, top + 0.1, 0.9, top + 0.24, LIGHT if pen.chance(0.6) else TINT)


GEAR = {"laptop": laptop, "phone": phone, "headphones": headphones, "camera": camera}
"""Painters of electronic gear by category."""
