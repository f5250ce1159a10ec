"""Pictures to calibrate and to compare on: drawn here, the same every time, of many kinds.

They have what photographs have, contrast at every scale (noise whose amplitude falls with its
frequency, as that of natural scenes does), and what other pictures have: flat areas, sharp edges,
stripes, text.
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
    """Draws pictures; those of two seeds have nothing in common but how they are made."""
    generator = np.random.default_rng(seed)
    return tuple(_image(generator, place) for place in range(count))


def _image(generator: np.random.Generator, place: int) -> Image:
    width, height = _SIZES[place % len(_SIZES)]
    image = Pillow.fromarray(_scene(generator, width, height))
    if place % 3:  # every third one is left as noise alone, which is nearest to a photograph
        _draw_things(generator, image)
    pixels = image.tobytes()
    return Image(width, height, pixels, hashlib.blake2b(pixels, digest_size=16).hexdigest())


def _scene(generator: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Coloured noise with an amplitude of 1 / frequency, over the whole range."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0
    noise = generator.standard_normal((3, *frequency.shape, 2)) @ np.array([1, 1j])
    waves = np.fft.irfft2(noise / frequency, s=(height, width), axes=(1, 2))
    mixed = 0.8 * waves[:1] + 0.4 * waves  # channels of a photograph go together
    low, high = np.percentile(mixed, (1, 99))
    levels = np.clip((mixed - low) / (high - low), 0, 1) * 255
    return np.ascontiguousarray(levels.transpose(1, 2, 0).astype(np.uint8))


def _draw_things(generator: np.random.Generator, image: Pillow.Image) -> None:
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(_SHAPES):
        left, top = (int(generator.integers(0, maximum)) for maximum in (width - 60, height - 60))
        box = (left, top, left + int(generator.integers(30, 200)), top + 40)
        colour = tuple(int(level) for level in generator.integers(0, 256, 3))
        match int(generator.integers(0, 4)):
            case 0:
                pen.rectangle(box, fill=colour)
            case 1:
                pen.ellipse(box, fill=colour, outline="black", width=3)
            case 2:
                for step in range(0, 60, 8):
                    pen.line((left + step, top, left + step, top + 60), fill=colour, width=4)
            case _:
                word = _WORDS[int(generator.integers(0, len(_WORDS)))]
                pen.text((left, top), word, fill=colour, font_size=28)
