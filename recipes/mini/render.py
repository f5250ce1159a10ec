"""From a scene to pixels, masks and the share of every patch that an item covers."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from recipes.mini.backdrop import Floats, backdrop, develop
from recipes.mini.pen import BODY, EMPTY, ROLE_COUNT, Pen, Pose
from recipes.mini.scene import Scene, generator
from recipes.mini.shapes_gear import GEAR
from recipes.mini.shapes_home import HOME
from recipes.mini.shapes_wear import WEAR
from recipes.mini.vocabulary import COLOURS, GRID, PICTURE_SIZE

PAINTERS = {**HOME, **WEAR, **GEAR}
"""The painter of every category."""

TAG, INK = ROLE_COUNT, ROLE_COUNT + 1

_ROW = ((0.19, 0.5), (0.5, 0.5), (0.81, 0.5))
_TRIANGLE = ((0.27, 0.71), (0.73, 0.71), (0.5, 0.27))
_PAIR = ((0.27, 0.5), (0.73, 0.5))


@dataclass(frozen=True)
class Rendered:
    """Pixels (size, size, 3) uint8 and item mask (size, size) uint8, 255 inside an item."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    body: NDArray[np.uint8]

    def coverage(self) -> NDArray[np.uint8]:
        """Return how much of each patch the items cover: (GRID, GRID) uint8, 255 is all."""
        cell = self.mask.shape[0] // GRID
        blocks = self.mask.reshape(GRID, cell, GRID, cell)
        shares: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).astype(np.uint8)
        return shares


def render(scene: Scene, size: int = PICTURE_SIZE, supersample: int = 2) -> Rendered:
    """Paint ``scene`` at ``size`` pixels; the same scene gives the same bytes every time."""
    shape_rng, style_rng, camera_rng = (generator(scene.seed, stream) for stream in (1, 2, 3))
    scale = size * supersample
    role_map = Image.new("L", (scale, scale), EMPTY)
    half = _paint_items(role_map, scene, scale, shape_rng)
    if scene.label is not None:
        _paint_tag(role_map, scene.label, scale, shape_rng)
    roles = np.asarray(role_map)
    main, palette = _palette(scene.colour, style_rng)
    colours = palette[roles]
    if scene.pattern != "plain":
        inside = np.flatnonzero(roles == BODY)
        amount = _pattern(scene.pattern, inside, scale, half, style_rng)[:, None]
        second = _second_colour(main, scene.pattern, style_rng)
        flat = colours.reshape(-1, 3)
        flat[inside] = (flat[inside] * (1 - amount) + second * amount).astype(np.uint8)
    front = np.asarray(Image.fromarray(colours).reduce(supersample), dtype=np.float32)
    drawn = Image.fromarray(np.where(roles > EMPTY, np.uint8(255), np.uint8(0))).reduce(supersample)
    item = np.where((roles > EMPTY) & (roles < TAG), np.uint8(255), np.uint8(0))
    body = np.where(roles == BODY, np.uint8(255), np.uint8(0))
    behind = backdrop(scene.background, size, main, style_rng)
    behind *= _shadow(drawn, size, style_rng)
    alpha = np.asarray(drawn, dtype=np.float32)[:, :, None] * np.float32(1 / 255)
    picture = develop(front + behind * (1 - alpha), camera_rng)
    return Rendered(
        picture,
        np.asarray(Image.fromarray(item).reduce(supersample)),
        np.asarray(Image.fromarray(body).reduce(supersample)),
    )


def _paint_items(
    role_map: Image.Image, scene: Scene, scale: int, rng: np.random.Generator
) -> float:
    """Paint all items; returns the half size of one in pixels of the role map."""
    places: tuple[tuple[float, float], ...]
    if scene.count == 1:
        places, low, high, wobble = ((0.5, 0.5),), 0.31, 0.44, 0.06
    elif scene.count == 2:
        places, low, high, wobble = _PAIR, 0.19, 0.23, 0.02
    elif rng.random() < 0.7:
        places, low, high, wobble = _TRIANGLE, 0.18, 0.215, 0.015
    else:
        places, low, high, wobble = _ROW, 0.145, 0.16, 0.01
    half = float(rng.uniform(low, high)) * scale
    spread = 0.12 if rng.random() < 0.8 else 0.3
    for x, y in places:
        dx, dy = rng.uniform(-wobble, wobble, 2)
        stretch = float(rng.uniform(0.9, 1.12))
        pose = Pose(
            (x + float(dx)) * scale, (y + float(dy)) * scale, half * stretch, half / stretch,
            float(rng.uniform(-spread, spread)), bool(rng.random() < 0.5),
        )  # fmt: skip
        PAINTERS[scene.category](Pen(role_map, pose, rng))
    return half


@functools.lru_cache(maxsize=64)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def _paint_tag(role_map: Image.Image, text: str, scale: int, rng: np.random.Generator) -> None:
    """Paint a paper tag with ``text`` into one corner."""
    draw = ImageDraw.Draw(role_map)
    draw.fontmode = "1"  # a blended edge would be a wrong role
    font = _font(round(scale * float(rng.uniform(0.125, 0.155))))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = scale * 0.025
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(rng.uniform(0.01, 0.06)) * scale
    y = float(rng.uniform(0.01, 0.06)) * scale
    if rng.random() < 0.5:
        x = scale - x - width
    if rng.random() < 0.5:
        y = scale - y - height
    draw.rectangle((x - scale * 0.008, y - scale * 0.008, x + width + scale * 0.008,
                    y + height + scale * 0.008), fill=INK)  # fmt: skip
    draw.rectangle((x, y, x + width, y + height), fill=TAG)
    draw.text((x + pad - left, y + pad - top), text, fill=INK, font=font)


def _palette(colour: str, rng: np.random.Generator) -> tuple[Floats, NDArray[np.uint8]]:
    """Return the jittered main colour and the colour of every role, (roles, 3) uint8."""
    jittered = np.asarray(COLOURS[colour], dtype=np.float32) + rng.uniform(-12, 12, 3)
    main: Floats = np.clip(jittered, 8, 250).astype(np.float32)
    grey, wood = float(rng.uniform(140, 190)), float(rng.uniform(0.85, 1.2))
    dark, pale = float(rng.uniform(25, 60)), float(rng.uniform(215, 250))
    # Black gets a lighter shade so that seams stay visible on it.
    shade = main * 0.68 if colour != "black" else main + 45
    rows = [
        (0, 0, 0), main, shade, main + (255 - main) * 0.28, (dark, dark, dark + 4),
        (pale, pale, pale - 5), (grey, grey, grey + 6), (150 * wood, 105 * wood, 65 * wood),
        (140, 185, 215), (60, 125, 60),
    ]  # fmt: skip
    paper = (pale, pale, pale - 8) if rng.random() < 0.7 else (245, 225, 130)
    rows += [paper, (25, 25, 30) if rng.random() < 0.7 else (150, 20, 25)]
    return main, np.clip(np.stack([np.asarray(r, dtype=np.float32) for r in rows]), 0, 255).astype(
        np.uint8
    )


def _second_colour(main: Floats, pattern: str, rng: np.random.Generator) -> Floats:
    """Choose a pattern colour that stands out from ``main``.

    Checks mix both colours half and half, so their second colour is always near white or black:
    otherwise nobody could tell which of two colours is the main one.
    """
    options = [np.full(3, 242, np.float32)] * 8 + [np.full(3, 35, np.float32)] * 5
    if pattern != "checked":
        options += [np.asarray(value, dtype=np.float32) for value in COLOURS.values()]
    far = [option for option in options if float(np.linalg.norm(option - main)) > 120]
    return far[int(rng.integers(len(far)))]


def _pattern(
    kind: str, inside: NDArray[np.intp], scale: int, half: float, rng: np.random.Generator
) -> Floats:
    """Return the share of the second colour (0..1) for the flat pixel indices ``inside``."""
    y, x = np.divmod(inside, scale)
    angle = float(rng.choice((0.0, np.pi / 2, np.pi / 4, -np.pi / 4)) + rng.uniform(-0.15, 0.15))
    period = max(half * float(rng.uniform(0.27, 0.4)), scale * 0.052)
    cos, sin = np.cos(angle) / period, np.sin(angle) / period
    shift = rng.random(2)
    u = (cos * x + sin * y + shift[0]) % 1.0
    v = (cos * y - sin * x + shift[1]) % 1.0
    amount: Floats
    if kind == "striped":
        amount = (u < 0.37).astype(np.float32)
    elif kind == "dotted":
        amount = ((u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.082).astype(np.float32)
    else:
        amount = (u < 0.36).astype(np.float32) * 0.5 + (v < 0.36).astype(np.float32) * 0.5
    return amount


def _shadow(drawn: Image.Image, size: int, rng: np.random.Generator) -> Floats:
    """Return the factor by which the background darkens under a soft, shifted shadow."""
    depth = float(rng.uniform(0.0, 0.4))
    small = drawn.resize((size // 4, size // 4), Image.Resampling.BOX)
    soft = small.filter(ImageFilter.BoxBlur(1)).resize((size, size), Image.Resampling.BILINEAR)
    shift = int(rng.integers(-3, 4) * size / 96), int(rng.integers(1, 5) * size / 96)
    field = np.roll(np.asarray(soft, dtype=np.float32), shift, axis=(1, 0))
    factor: Floats = 1.0 - field[:, :, None] * np.float32(depth / 255)
    return factor
