"""Synthetic, reproducible images of many kinds, for calibration and comparison.

Like photographs, they have contrast at every scale: noise whose amplitude falls with its frequency,
as in natural scenes. Like other images, they have flat areas, sharp edges, stripes and text.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from silkline.core import Image

_SIZES = ((480, 360), (360, 480), (400, 400), (640, 360))
_WORDS = ("SALE 50%", "Model 8", "Made of wool", "4.99", "Size L", "Keep dry")
_SHAPES = 6


def draw_images(count: int, seed: int) -> tuple[Image, ...]:
    """Draws images; different seeds give independent images."""
    generator = np.random.default_rng(seed)
    return tuple(_image(generator, index) for index in range(count))


def _image(generator: np.random.Generator, index: int) -> Image:
    width, height = _SIZES[index % len(_SIZES)]
    image = Pillow.fromarray(_scene(generator, width, height))
    if index % 3:  # every third image stays pure noise, which is most like a photograph
        _draw_shapes(generator, image)
    pixels = image.tobytes()
    return Image(width, height, pixels, hashlib.blake2b(pixels, digest_size=16).hexdigest())


def _scene(generator: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Coloured noise with an amplitude of 1 / frequency, over the whole range."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0
    noise = generator.standard_normal((3, *frequency.shape, 2)) @ np.array([1, 1j])
    waves = np.fft.irfft2(noise / frequency, s=(height, width), axes=(1, 2))
    mixed = 0.8 * waves[:1] + 0.4 * waves  # channels of a photograph correlate
    low, high = np.percentile(mixed, (1, 99))
    levels = np.clip((mixed - low) / (high - low), 0, 1) * 255
    return np.ascontiguousarray(levels.transpose(1, 2, 0).astype(np.uint8))


def _draw_shapes(generator: np.random.Generator, image: Pillow.Image) -> None:
    canvas = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(_SHAPES):
        left, top = (int(generator.integers(0, maximum)) for maximum in (width - 60, height - 60))
        box = (left, top, left + int(generator.integers(30, 200)), top + 40)
        colour = tuple(int(level) for level in generator.integers(0, 256, 3))
        match int(generator.integers(0, 4)):
            case 0:
                canvas.rectangle(box, fill=colour)
            case 1:
                canvas.ellipse(box, fill=colour, outline="black", width=3)
            case 2:
                for step in range(0, 60, 8):
                    canvas.line((left + step, top, left + step, top + 60), fill=colour, width=4)
            case _:
                word = _WORDS[int(generator.integers(0, len(_WORDS)))]
                canvas.text((left, top), word, fill=colour, font_size=28)
