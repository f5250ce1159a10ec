"""Household items. Every function paints one item into the unit box of its pen."""

from __future__ import annotations

from recipes.mini.pen import (
    BODY,
    DARK,
    LEAF,
    LIGHT,
    METAL,
    SHADE,
    TINT,
    WOOD,
    Pen,
    arc_points,
    mirrored,
)


def mug(pen: Pen) -> None:
    """A cylinder with an open top and one handle."""
    left, right = -0.75, pen.uniform(0.25, 0.45)
    top, bottom = pen.uniform(-0.8, -0.6), pen.uniform(0.65, 0.85)
    taper = pen.uniform(0.0, 0.16)
    mid, radius = (left + right) / 2, (right - left) / 2
    handle = pen.uniform(0.3, 0.45)
    pen.arc(right - 0.05, (top + bottom) / 2, handle, pen.uniform(0.35, 0.48), -95, 95,
            pen.uniform(0.16, 0.22), SHADE)  # fmt: skip
    pen.poly([(left, top), (right, top), (right - taper, bottom), (left + taper, bottom)])
    pen.oval(mid, bottom, radius - taper, 0.12)
    pen.oval(mid, top, radius, 0.16, TINT)
    pen.oval(mid, top + 0.02, radius * 0.84, 0.11, DARK)


def lamp(pen: Pen) -> None:
    """A table lamp: coloured shade, stem and foot."""
    top, low = pen.uniform(0.28, 0.5), pen.uniform(0.7, 0.95)
    edge = pen.uniform(0.05, 0.25)
    material = WOOD if pen.chance(0.4) else METAL
    pen.line([(0, edge), (0, 0.85)], pen.uniform(0.08, 0.14), material)
    if pen.chance(0.5):
        pen.oval(0, (edge + 0.9) / 2 + 0.1, pen.uniform(0.16, 0.28), 0.26, material)
    pen.oval(0, 0.88, pen.uniform(0.35, 0.5), 0.11, material)
    pen.poly([(-top, -0.95), (top, -0.95), (low, edge), (-low, edge)])
    pen.line([(-low, edge), (low, edge)], 0.06, SHADE)
    pen.line([(-top, -0.95), (top, -0.95)], 0.06, SHADE)


def chair(pen: Pen) -> None:
    """A chair seen from the front side: backrest, seat and four legs."""
    back = pen.uniform(-1.0, -0.85)
    seat, width = pen.uniform(0.05, 0.2), pen.uniform(0.5, 0.62)
    lean = pen.uniform(0.12, 0.25)
    leg = pen.uniform(0.09, 0.13)
    role = pen_leg_role(pen)
    for x in (-width + 0.06, width - 0.06):
        pen.line([(x, seat), (x + lean, 0.8)], leg, role)
        pen.line([(x - lean, seat + 0.2), (x - lean, 1.0)], leg, role)
    if pen.chance(0.5):
        pen.box(-width, back, width, seat - 0.15, BODY, pen.uniform(0.02, 0.3))
    else:
        for x in (-width + 0.07, 0.0, width - 0.07):
            pen.line([(x, back), (x, seat)], 0.15, BODY)
        pen.box(-width, back, width, back + 0.3, BODY, 0.08)
        pen.box(-width, back + 0.45, width, back + 0.65, BODY, 0.04)
    pen.poly([(-width, seat - 0.1), (width, seat - 0.1),
              (width - lean + 0.05, seat + 0.3), (-width - lean - 0.05, seat + 0.3)])  # fmt: skip
    pen.poly(
        [
            (width - lean + 0.05, seat + 0.3),
            (-width - lean - 0.05, seat + 0.3),
            (-width - lean - 0.05, seat + 0.4),
            (width - lean + 0.05, seat + 0.4),
        ],
        SHADE,
    )


def pen_leg_role(pen: Pen) -> int:
    """Choose what furniture legs are made of."""
    return (WOOD, METAL, DARK, SHADE)[int(pen.uniform(0, 3.999))]


def bottle(pen: Pen) -> None:
    """A slim bottle with shoulders, neck and cap."""
    half, neck = pen.uniform(0.34, 0.46), pen.uniform(0.12, 0.17)
    shoulder = pen.uniform(-0.4, -0.1)
    pen.poly(mirrored([(neck, -0.8), (neck, shoulder - 0.25), (half * 0.85, shoulder),
                       (half, shoulder + 0.15), (half, 0.92), (half - 0.08, 1.0)]))  # fmt: skip
    pen.box(-neck - 0.04, -1.0, neck + 0.04, -0.78, DARK if pen.chance(0.6) else METAL, 0.03)
    if pen.chance(0.35):
        top = pen.uniform(0.1, 0.25)
        pen.box(-half, top, half, top + pen.uniform(0.25, 0.4), TINT)
    pen.line([(-half * 0.6, shoulder + 0.2), (-half * 0.6, 0.75)], 0.06, TINT)


def table(pen: Pen) -> None:
    """A table seen slightly from above: wide top and four legs."""
    depth, inset = pen.uniform(0.35, 0.5), pen.uniform(0.15, 0.35)
    top = pen.uniform(-0.5, -0.3)
    front = top + depth
    role, leg = pen_leg_role(pen), pen.uniform(0.1, 0.15)
    for x, y, end in ((-0.85, front, 0.85), (0.85, front, 0.85),
                      (-0.9 + inset, front, 0.55), (0.9 - inset, front, 0.55)):  # fmt: skip
        pen.line([(x, y), (x, end)], leg, role)
    if pen.chance(0.25):
        pen.oval(0, top + depth / 2 + 0.1, 1.0, depth / 2, SHADE)
        pen.oval(0, top + depth / 2, 1.0, depth / 2)
        return
    pen.poly([(-1 + inset, top), (1 - inset, top), (1.0, front), (-1.0, front)])
    pen.box(-1.0, front, 1.0, front + 0.13, SHADE)


def sofa(pen: Pen) -> None:
    """A sofa from the front: back, two arms, cushions, short feet."""
    back, arm = pen.uniform(-0.7, -0.5), pen.uniform(0.2, 0.3)
    arm_top, seat = pen.uniform(-0.25, -0.05), pen.uniform(0.1, 0.2)
    for x in (-0.82, 0.82):
        pen.line([(x, 0.55), (x, 0.8)], 0.12, WOOD)
    pen.box(-0.9, back, 0.9, 0.5, BODY, pen.uniform(0.08, 0.3))
    pen.box(-0.85, seat, 0.85, 0.62, BODY, 0.08)
    pen.line([(-1 + arm, seat), (1 - arm, seat)], 0.07, SHADE)
    seams = (0.0,) if pen.chance(0.6) else (-0.27, 0.27)
    for x in seams:
        pen.line([(x, back + 0.1), (x, 0.45)], 0.05, SHADE)
    pen.line([(-0.8, 0.45), (0.8, 0.45)], 0.05, SHADE)
    for x in (-1.0, 1.0 - arm):
        pen.box(x, arm_top, x + arm, 0.62, BODY, 0.12)
        inner = x + arm if x < 0 else x
        pen.line([(inner, arm_top + 0.08), (inner, 0.6)], 0.05, SHADE)


def teapot(pen: Pen) -> None:
    """A round pot with lid, spout on one side and handle on the other."""
    rx, ry = pen.uniform(0.5, 0.58), pen.uniform(0.45, 0.58)
    y = 0.2
    pen.arc(-rx + 0.02, y - 0.02, 0.4, pen.uniform(0.3, 0.38), 90, 270, 0.14, SHADE)
    tip = pen.uniform(-0.5, -0.25)
    pen.poly([(rx - 0.25, y + 0.25), (rx - 0.1, y - 0.1), (0.85, tip), (1.0, tip + 0.05),
              (0.8, y + 0.05), (rx - 0.05, y + 0.38)], SHADE)  # fmt: skip
    pen.oval(0, y, rx, ry)
    pen.box(-0.3, y + ry - 0.08, 0.3, y + ry + 0.07, SHADE, 0.04)
    pen.poly(arc_points(0, y - ry + 0.1, rx * 0.6, pen.uniform(0.18, 0.28), 180, 360, 10), TINT)
    pen.line([(-rx * 0.6, y - ry + 0.1), (rx * 0.6, y - ry + 0.1)], 0.06, SHADE)
    pen.oval(0, y - ry - 0.16, 0.1, 0.1, SHADE)


def vase(pen: Pen) -> None:
    """A curved vase with a narrow neck, at times with twigs."""
    belly, neck = pen.uniform(0.48, 0.65), pen.uniform(0.16, 0.26)
    lip, level = pen.uniform(0.3, 0.42), pen.uniform(0.2, 0.5)
    top = pen.uniform(-0.6, -0.4)
    if pen.chance(0.6):
        for x in (-0.35, 0.0, 0.35):
            end = (x + pen.uniform(-0.1, 0.1), pen.uniform(-1.0, -0.85))
            pen.line([(0, top), end], 0.05, LEAF)
            pen.oval(end[0], end[1] + 0.05, 0.12, 0.14, LEAF)
    pen.blob(mirrored([(lip, top), (neck, top + 0.25), (neck * 1.2, top + 0.4), (belly, level),
                       (belly * 0.7, 0.8), (belly * 0.55, 1.0)]))  # fmt: skip
    pen.oval(0, top, lip, 0.07, TINT)
    pen.oval(0, top, lip * 0.75, 0.04, DARK)


def book(pen: Pen) -> None:
    """A closed book standing at an angle: cover, page block, spine, title lines."""
    width, page = pen.uniform(0.5, 0.62), pen.uniform(0.16, 0.24)
    slope = pen.uniform(0.1, 0.2)
    pen.poly([(width, -0.8), (width + page, -0.8 - slope), (width + page, 0.85 - slope),
              (width, 0.85)], LIGHT)  # fmt: skip
    pen.poly([(-width, -0.8), (width, -0.8), (width + page, -0.8 - slope),
              (-width + page, -0.8 - slope)], LIGHT)  # fmt: skip
    pen.line([(width + page, -0.8 - slope), (width + page, 0.85 - slope)], 0.06, SHADE)
    for step in (0.35, 0.7):
        x = width + page * step
        pen.line([(x, -0.8 - slope * step), (x, 0.85 - slope * step)], 0.025, METAL)
    pen.box(-width, -0.8, width, 0.85)
    pen.box(-width, -0.8, -width + 0.18, 0.85, SHADE)
    ink = LIGHT if pen.chance(0.7) else DARK
    middle = 0.09
    for y, half in ((pen.uniform(-0.5, -0.35), 0.32), (-0.15, 0.22)):
        pen.line([(middle - half, y), (middle + half, y)], 0.1, ink)


HOME = {
    "mug": mug, "lamp": lamp, "chair": chair, "bottle": bottle, "table": table, "sofa": sofa,
    "teapot": teapot, "vase": vase, "book": book,
}  # fmt: skip
"""Painters of household items by category."""
