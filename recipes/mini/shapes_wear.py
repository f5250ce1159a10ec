"""Things to wear and carry. Every function paints one item into the unit box of its pen."""

from __future__ import annotations

from recipes.mini.pen import (
    BODY,
    DARK,
    GLASS,
    LIGHT,
    METAL,
    SHADE,
    TINT,
    WOOD,
    Pen,
    arc_points,
    mirrored,
)


def t_shirt(pen: Pen) -> None:
    """A short-sleeved shirt laid flat."""
    waist, sleeve = pen.uniform(0.5, 0.6), pen.uniform(-0.15, 0.1)
    pen.poly(mirrored([(0.22, -0.85), (0.5, -0.75), (1.0, sleeve - 0.1), (0.78, sleeve + 0.18),
                       (waist, -0.2), (waist + 0.02, 0.9)]))  # fmt: skip
    pen.line([(waist, -0.25), (waist, 0.2)], 0.04, SHADE)
    pen.line([(-waist, -0.25), (-waist, 0.2)], 0.04, SHADE)
    depth = pen.uniform(0.16, 0.3)
    pen.poly(arc_points(0, -0.86, 0.24, depth, 0, 180, 10), DARK)
    pen.arc(0, -0.86, 0.26, depth + 0.03, 0, 180, 0.07, SHADE)


def sneaker(pen: Pen) -> None:
    """A sports shoe from the side: upper, pale sole, laces."""
    heel, toe = pen.uniform(-0.45, -0.3), pen.uniform(0.05, 0.2)
    pen.blob([(-0.9, heel), (-0.55, heel + 0.08), (-0.3, heel + 0.02), (0.15, toe - 0.15),
              (0.75, toe + 0.05), (0.95, 0.4), (0.0, 0.48), (-0.92, 0.45)])  # fmt: skip
    pen.poly([(-0.95, 0.38), (1.0, 0.38), (0.95, 0.62), (-0.9, 0.62)], LIGHT)
    pen.line([(-0.95, 0.62), (0.95, 0.62)], 0.07, DARK)
    for i in range(3):
        x = -0.25 + 0.2 * i
        y = heel + 0.05 + 0.12 * i
        pen.line([(x, y), (x + 0.15, y + 0.22)], 0.07, LIGHT)
    if pen.chance(0.5):
        pen.line([(-0.6, 0.3), (-0.2, -0.02), (0.05, 0.3)], 0.08, LIGHT)
    pen.oval(-0.6, heel + 0.04, 0.27, 0.08, DARK)


def backpack(pen: Pen) -> None:
    """A rucksack from the front: rounded body, pocket, loop and straps."""
    half = pen.uniform(0.55, 0.66)
    for side in (-1, 1):
        pen.arc(side * half, 0.25, 0.25, 0.5, -90 if side > 0 else 90, 90 if side > 0 else 270,
                0.13, SHADE)  # fmt: skip
    pen.arc(0, -0.78, 0.2, 0.2, 180, 360, 0.1, DARK)
    pen.box(-half, -0.8, half, 0.95, BODY, pen.uniform(0.35, 0.5))
    pen.line([(-half + 0.1, -0.25), (half - 0.1, -0.25)], 0.07, SHADE)
    top = pen.uniform(0.1, 0.25)
    pen.box(-half + 0.1, top, half - 0.1, 0.85, SHADE, 0.15)
    pen.box(-half + 0.17, top + 0.07, half - 0.17, 0.78, BODY, 0.12)
    pen.line([(-half + 0.2, top + 0.2), (half - 0.2, top + 0.2)], 0.06, METAL)
    pen.box(-0.06, -0.3, 0.06, -0.05, METAL)


def watch(pen: Pen) -> None:
    """A wrist watch: coloured strap above and below a pale dial with two hands."""
    half, dial = pen.uniform(0.26, 0.34), pen.uniform(0.44, 0.52)
    pen.poly([(-half, 0.0), (half, 0.0), (half * 0.8, -1.0), (-half * 0.8, -1.0)])
    pen.poly([(-half, 0.0), (half, 0.0), (half * 0.75, 1.0), (-half * 0.75, 1.0)])
    for y in (0.65, 0.82):
        pen.oval(0, y, 0.05, 0.04, DARK)
    pen.box(dial - 0.05, -0.08, dial + 0.1, 0.08, METAL)
    rim = METAL if pen.chance(0.7) else SHADE
    if pen.chance(0.75):
        pen.oval(0, 0, dial, dial, rim)
        pen.oval(0, 0, dial - 0.1, dial - 0.1, LIGHT)
    else:
        pen.box(-dial, -dial, dial, dial, rim, 0.12)
        pen.box(-dial + 0.1, -dial + 0.1, dial - 0.1, dial - 0.1, LIGHT, 0.06)
    for angle, length in ((pen.uniform(0, 360), 0.3), (pen.uniform(0, 360), 0.2)):
        pen.line([(0, 0), arc_points(0, 0, length, length, angle, angle, 1)[0]], 0.06, DARK)


def hat(pen: Pen) -> None:
    """A brimmed hat with a band."""
    crown, brim = pen.uniform(0.42, 0.58), pen.uniform(0.14, 0.22)
    top, y = pen.uniform(-0.7, -0.4), 0.4
    pen.oval(0, y, 1.0, brim)
    pen.arc(0, y, 0.97, brim, 10, 170, 0.05, SHADE)
    pen.poly(
        [
            (-crown, y),
            (-crown * 0.85, top),
            *arc_points(0, top, crown * 0.85, 0.14, 180, 360, 8),
            (crown, y),
        ]
    )
    pen.poly(arc_points(0, y, crown, brim * 0.6, 0, 180, 8))
    band = DARK if pen.chance(0.6) else LIGHT
    pen.poly([(-crown, y), (-crown * 0.96, y - 0.2), (crown * 0.96, y - 0.2), (crown, y),
              (0, y + brim * 0.4)], band)  # fmt: skip


def glasses(pen: Pen) -> None:
    """Spectacles from the front with thick coloured rims."""
    rx, ry = pen.uniform(0.38, 0.44), pen.uniform(0.3, 0.42)
    rim = pen.uniform(0.1, 0.15)
    lens = (GLASS, DARK, LIGHT)[int(pen.uniform(0, 2.999))]
    square = pen.chance(0.4)
    pen.arc(0, -0.02, 0.16, 0.14, 180, 360, 0.14)
    for side in (-1, 1):
        x = side * 0.52
        if square:
            pen.box(x - rx, -ry, x + rx, ry, BODY, 0.14)
            pen.box(x - rx + rim, -ry + rim, x + rx - rim, ry - rim, lens, 0.1)
        else:
            pen.oval(x, 0, rx, ry)
            pen.oval(x, 0, rx - rim, ry - rim, lens)
        pen.line([(side * 0.88, -ry * 0.4), (side * 1.0, -ry - 0.15)], 0.14)


def umbrella(pen: Pen) -> None:
    """An open umbrella: scalloped dome, shaft and hooked grip."""
    edge, scallops = pen.uniform(0.0, 0.15), 4
    role = WOOD if pen.chance(0.5) else DARK
    pen.line([(0, -0.95), (0, 0.8)], 0.08, METAL)
    pen.arc(-0.15, 0.78, 0.15, 0.17, 0, 180, 0.11, role)
    outline = arc_points(0, edge, 1.0, edge + pen.uniform(0.75, 0.85), 180, 360, 20)
    width = 2.0 / scallops
    for i in range(scallops):
        outline += arc_points(1.0 - width * (i + 0.5), edge, width / 2, 0.14, 0, -180, 6)
    pen.poly(outline)
    for x in (-0.5, 0.0, 0.5):
        pen.line([(0, -0.78), (x * 0.75, -0.3), (x, edge - 0.05)], 0.045, SHADE)


def handbag(pen: Pen) -> None:
    """A bag with a flap, a clasp and a tall arched handle."""
    top, low = pen.uniform(0.55, 0.75), pen.uniform(0.8, 0.95)
    y = pen.uniform(-0.25, -0.1)
    pen.arc(0, y, pen.uniform(0.36, 0.46), pen.uniform(0.6, 0.72), 180, 360, 0.12, SHADE)
    pen.poly([(-top, y), (top, y), (low, 0.75), (low - 0.1, 0.85), (-low + 0.1, 0.85),
              (-low, 0.75)])  # fmt: skip
    if pen.chance(0.6):
        flap = pen.uniform(0.3, 0.45)
        pen.line([(-top - 0.04, y + 0.12), (-top * 0.6, y + flap), (top * 0.6, y + flap),
                  (top + 0.04, y + 0.12)], 0.06, SHADE)  # fmt: skip
        pen.box(-0.1, y + flap - 0.1, 0.1, y + flap + 0.1, METAL, 0.04)
    else:
        pen.line([(-top, y + 0.1), (top, y + 0.1)], 0.08, METAL)


def dress(pen: Pen) -> None:
    """A dress with straps or short sleeves, a waist and a flared skirt."""
    hem, waist = pen.uniform(0.65, 0.85), pen.uniform(0.22, 0.3)
    middle = pen.uniform(-0.2, -0.05)
    if pen.chance(0.5):
        for side in (-1, 1):
            pen.line([(side * 0.24, -1.0), (side * 0.26, -0.65)], 0.1)
        upper = [(0.12, -0.6), (0.34, -0.7)]
    else:
        upper = [(0.14, -0.95), (0.34, -0.98), (0.6, -0.7), (0.48, -0.55), (0.34, -0.66)]
    pen.poly(mirrored([*upper, (waist, middle), (hem, 0.92), (hem * 0.5, 0.98)]))
    pen.line([(-waist, middle), (waist, middle)], 0.1, DARK if pen.chance(0.4) else SHADE)
    for x in (-0.35, 0.0, 0.35):
        pen.line([(x * 0.5, middle + 0.25), (x, 0.9)], 0.04, SHADE)


def trousers(pen: Pen) -> None:
    """Long trousers laid flat: waistband and two legs."""
    waist, cuff = pen.uniform(0.38, 0.46), pen.uniform(0.2, 0.3)
    spread = pen.uniform(0.3, 0.42)
    crotch = pen.uniform(-0.35, -0.2)
    pen.poly([(-waist, -1.0), (waist, -1.0), (waist + 0.1, crotch), (spread + cuff, 1.0),
              (spread - cuff * 0.6, 1.0), (0.0, crotch + 0.1), (-spread + cuff * 0.6, 1.0),
              (-spread - cuff, 1.0), (-waist - 0.1, crotch)])  # fmt: skip
    pen.box(-waist, -1.0, waist, -0.86, SHADE)
    pen.line([(0, -0.86), (0, crotch + 0.05)], 0.05, SHADE)
    pen.box(-0.05, -0.98, 0.05, -0.88, METAL)
    for side in (-1, 1):
        pen.line([(side * waist, -0.65), (side * (waist - 0.18), -0.8)], 0.04, SHADE)


def sock(pen: Pen) -> None:
    """A single sock: leg, heel, toe and a ribbed cuff."""
    leg = pen.uniform(0.3, 0.36)
    toe = pen.uniform(0.75, 0.95)
    x = -0.35
    pen.box(x - leg, -0.95, x + leg, 0.5)
    pen.blob([(x - leg, 0.3), (x + leg, 0.25), (toe - 0.3, 0.4), (toe, 0.65), (toe - 0.2, 0.92),
              (x, 0.92), (x - leg + 0.02, 0.75)])  # fmt: skip
    trim = (TINT, SHADE, LIGHT)[int(pen.uniform(0, 2.999))]
    pen.box(x - leg - 0.03, -1.0, x + leg + 0.03, pen.uniform(-0.8, -0.7), trim)
    pen.oval(x - leg + 0.2, 0.68, 0.19, 0.2, trim)
    pen.oval(toe - 0.16, 0.67, 0.17, 0.2, trim)


WEAR = {
    "t-shirt": t_shirt, "sneaker": sneaker, "backpack": backpack, "watch": watch, "hat": hat,
    "glasses": glasses, "umbrella": umbrella, "handbag": handbag, "dress": dress,
    "trousers": trousers, "sock": sock,
}  # fmt: skip
"""Painters of things to wear and carry by category."""
