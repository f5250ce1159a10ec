"""Draws the images of the golden pack by code: reproducible, and free of third-party rights.

Each image exposes faults: no symmetry (rotations, mirroring), different values in each channel
(swapped channels), strokes of one pixel (resize filters, shifts), smooth gradients (normalisation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SEED = 20261122
_TEXT = "The quick brown fox jumps over the lazy dog 0123456789"
_LINE_HEIGHT = 11
_GRAIN = 6
"""Maximum change of a value by the grain, of 255."""


def scene(width: int, height: int, *, warm: bool = True) -> Image.Image:
    """An RGB image without symmetry.

    Args:
        width: In pixels, at least 1.
        height: Likewise.
        warm: Whether its colours tend to red; else to blue.
    """
    image = _slope(width, height, warm=warm)
    draw = ImageDraw.Draw(image)
    unit = max(1, min(width, height) // 12)
    edge = (30, 90, 220) if warm else (220, 120, 20)
    draw.rectangle((unit, unit, 4 * unit, 3 * unit), fill=(220, 30, 40) if warm else (20, 60, 200))
    draw.ellipse((width - 6 * unit, height - 5 * unit, width - unit, height - unit), fill=edge)
    draw.polygon([(unit, height - unit), (4 * unit, height - unit), (unit, height - 5 * unit)])
    for column in range(width // 2, width // 2 + 2 * unit, 2):  # lines one pixel apart
        draw.line((column, unit, column, 3 * unit), fill=(10, 120, 40))
    draw.line((0, 0, width - 1, height // 3), fill=(250, 240, 20))
    return _grained(image)


def tiny_text(width: int, height: int) -> Image.Image:
    """Lines of small text, dark on light."""
    image = Image.new("RGB", (width, height), (250, 248, 240))
    draw = ImageDraw.Draw(image)
    for line, top in enumerate(range(1, height, _LINE_HEIGHT)):
        draw.text((2 + 3 * line, top), _TEXT, fill=(20, 20, 60), font_size=8)
    return image


def opacity(width: int, height: int) -> Image.Image:
    """An alpha channel: a gradient with a fully transparent hole."""
    alpha = Image.fromarray(_ramp(width, height), "L")
    box = (width // 2, height // 4, 3 * width // 4, 3 * height // 4)
    ImageDraw.Draw(alpha).ellipse(box, fill=0)
    return alpha


def deep(width: int, height: int) -> NDArray[np.uint16]:
    """A scene with 16 bits per sample, `[height, width, 3]`, with random low bytes."""
    high = np.asarray(scene(width, height), np.uint16)
    low = np.random.default_rng(_SEED).integers(0, 256, high.shape, np.uint16)
    samples: NDArray[np.uint16] = high << 8 | low
    return samples


def _ramp(width: int, height: int) -> NDArray[np.uint8]:
    columns = np.linspace(0, 255, width)[None, :]
    rows = np.linspace(0, 1, height)[:, None]
    return (columns * (0.25 + 0.75 * rows)).astype(np.uint8)


def _slope(width: int, height: int, *, warm: bool) -> Image.Image:
    ramp = _ramp(width, height)
    turned = np.ascontiguousarray(255 - ramp[::-1])
    flat = np.full_like(ramp, 90)
    channels = (turned, ramp, flat) if warm else (flat, turned, ramp)
    return Image.merge("RGB", [Image.fromarray(channel, "L") for channel in channels])


def _grained(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.int16)
    edge = 256
    noise = np.random.default_rng(_SEED).integers(-_GRAIN, _GRAIN + 1, (edge, edge, 3), np.int16)
    height, width = values.shape[:2]
    repeats = (-(-height // edge), -(-width // edge), 1)
    grained = values + np.tile(noise, repeats)[:height, :width]
    return Image.fromarray(grained.clip(0, 255).astype(np.uint8), "RGB")
