"""Pictures small enough to stand in a page."""

from __future__ import annotations

import base64
import io

from PIL import Image as Pillow

from silkline.core import Image

THUMBNAIL_PIXELS = 320 * 240
"""Pixels of a picture in the report: enough to see what it shows, some 10 KB."""

_QUALITY = 82


def data_url(image: Image) -> str:
    """A decoded picture as a JPEG data URL; nothing is parsed here."""
    buffer = io.BytesIO()
    size = (image.width, image.height)
    Pillow.frombytes("RGB", size, image.pixels).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
