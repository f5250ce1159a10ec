"""Draws the scenes that the load test's images are composed of: two products on a background.

They have the size and compressibility of photographs: smooth shades, hard edges and grain.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageDraw

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

_OVERSIZE = 2
"""Scenes are drawn larger by this factor and scaled down, which smooths their edges."""

_GRAIN = 17
"""The grain changes a channel's value by at most half of this."""

_MIDDLE = 128


def draw_scene(number: int, size: int, cards: Sequence[Box]) -> Image.Image:
    """One scene with a product on each card; the same number gives the same pixels.

    Args:
        number: The scene's number, from 0.
        size: Width and height in pixels.
        cards: Boxes of the products in pixels: left, top, right, bottom.
    """
    chance = random.Random(f"scene {number}")  # noqa: S311 - a repeatable drawing
    large = size * _OVERSIZE
    scene = _ground(chance, large)
    draw = ImageDraw.Draw(scene)
    for card in cards:
        box = tuple(edge * _OVERSIZE for edge in card)
        draw.rectangle(box, fill=_shade(chance, saturation=0.1, minimum=0.82))
        left, top, right, bottom = _inside(box, 0.14)
        low = bottom - (bottom - top) // 12
        draw.ellipse((left, low, right, bottom + (bottom - low)), fill=_shade(chance, 0.1, 0.6))
        chance.choice(_PRODUCTS)(draw, (left, top, right, bottom), chance)
    return ImageChops.add(scene.reduce(_OVERSIZE), _grain(chance, size), 1, -_MIDDLE)


def mark(tint: int, of: int) -> Colour:
    """The colour of a small mark; consecutive tints still differ after scaling down."""
    red, green, blue = colorsys.hsv_to_rgb(tint / of, 0.9, 0.55 + 0.4 * (tint % 2))
    return round(red * 255), round(green * 255), round(blue * 255)


def _ground(chance: random.Random, size: int) -> Image.Image:
    """A background with a gradient from one colour to another."""
    shades = (
        Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270))).resize((size, size))
    )
    light, dark = _shade(chance, 0.45, 0.25), _shade(chance, 0.3, 0.55)
    return Image.composite(
        Image.new("RGB", (size, size), light), Image.new("RGB", (size, size), dark), shades
    )


def _grain(chance: random.Random, size: int) -> Image.Image:
    noise = Image.frombytes("L", (size, size), chance.randbytes(size * size))
    dimmed = noise.point([_MIDDLE + (value - _MIDDLE) * _GRAIN // 256 for value in range(256)])
    return Image.merge("RGB", (dimmed, dimmed, dimmed))


def _shade(chance: random.Random, saturation: float, minimum: float) -> Colour:
    value = minimum + (1 - minimum) * chance.random()
    channels = colorsys.hsv_to_rgb(chance.random(), saturation * chance.random(), value)
    red, green, blue = (round(channel * 255) for channel in channels)
    return red, green, blue


def _strong(chance: random.Random) -> Colour:
    channels = colorsys.hsv_to_rgb(chance.random(), 0.55 + 0.4 * chance.random(), 0.85)
    red, green, blue = (round(channel * 255) for channel in channels)
    return red, green, blue


def _inside(box: Sequence[int], share: float) -> Box:
    left, top, right, bottom = box
    across, down = round((right - left) * share), round((bottom - top) * share)
    return left + across, top + down, right - across, bottom - down


def _stripes(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    colour, count = _strong(chance), chance.randint(0, 5)
    step = max(4, (bottom - top) // (2 * count + 1))
    for stripe in range(count):
        above = top + step * (2 * stripe + 1)
        draw.rectangle((left, above, right, min(bottom, above + step // 2)), fill=colour)


def _bottle(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    colour = _strong(chance)
    neck = left + width * 2 // 5, top, right - width * 2 // 5, top + height // 3
    body = left + width // 6, top + height // 4, right - width // 6, bottom
    draw.rectangle(neck, fill=colour)
    draw.rounded_rectangle(body, radius=width // 7, fill=colour)
    _stripes(draw, _inside(body, 0.2), chance)


def _crate(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    height = bottom - top
    front = left, top + height // 3, right, bottom
    draw.rectangle(front, fill=_strong(chance))
    lid = (left + height // 6, top + height // 8), (right - height // 6, top + height // 8)
    hinge = (right, top + height // 3), (left, top + height // 3)
    draw.polygon((*lid, *hinge), fill=_strong(chance))
    _stripes(draw, _inside(front, 0.15), chance)


def _globe(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, _, right, bottom = box
    ball = left, bottom - (right - left), right, bottom
    draw.ellipse(ball, fill=_strong(chance))
    draw.ellipse(_inside(ball, 0.2), fill=_strong(chance))
    draw.ellipse(_inside(ball, chance.uniform(0.28, 0.42)), fill=_shade(chance, 0.3, 0.7))


def _lamp(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    middle, thick = (left + right) // 2, max(3, width // 16)
    draw.rectangle(
        (middle - thick, top + height // 3, middle + thick, bottom), fill=_strong(chance)
    )
    shade = (left + width // 4, top), (right - width // 4, top)
    draw.polygon((*shade, (right, top + height // 2), (left, top + height // 2)), _strong(chance))
    foot = left + width // 6, bottom - height // 12, right - width // 6, bottom
    draw.ellipse(foot, fill=_strong(chance))


def _cup(draw: ImageDraw.ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    colour = _strong(chance)
    body = left, top + height // 3, right - width // 4, bottom
    ear = right - width // 2, top + height // 2, right, bottom - height // 8
    draw.ellipse(ear, outline=colour, width=max(3, width // 10))
    draw.rounded_rectangle(body, radius=width // 10, fill=colour)
    _stripes(draw, _inside(body, 0.12), chance)


_PRODUCTS: tuple[Callable[[ImageDraw.ImageDraw, Box, random.Random], None], ...] = (
    _bottle,
    _crate,
    _globe,
    _lamp,
    _cup,
)
