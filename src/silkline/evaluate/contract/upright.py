"""Normalises an image by Silkline's documented rules, independently of the ingress.

Upright by its EXIF orientation, transparency over white, 8 bits of RGB, 16-bit samples by their
high byte, colour profiles ignored (transformers ignores them too), the first frame: see
docs/pictures.md. The reference uses other library calls than `ingress.normalise`.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

_WHITE = (255, 255, 255, 255)


def upright(data: bytes) -> Image.Image:
    """Decodes and normalises an image as documented; RGB."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            high = (np.asarray(image) >> 8).astype(np.uint8)
            return Image.fromarray(high, "L").convert("RGB")
        if not image.has_transparency_data:
            return image.convert("RGB")
        canvas = Image.new("RGBA", image.size, _WHITE)
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
