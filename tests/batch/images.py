"""Small images with known duplicates."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def png(number: int) -> bytes:
    """A small image; different numbers give different ones."""
    data = io.BytesIO()
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    Image.new("RGB", (8, 8), colour).save(data, "PNG", compress_level=1)
    return data.getvalue()


def write_images(folder: Path, count: int, distinct: int) -> None:
    """Writes `count` images of which `distinct` are different, 1000 in each folder."""
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number % distinct))
