"""Pictures for tests, encoded."""

from __future__ import annotations

import base64
import io

from PIL import Image


def encoded(
    width: int = 64, height: int = 48, colour: str = "red", kind: str = "JPEG", **options: object
) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind, **options)
    return buffer.getvalue()


def data_url(data: bytes, media_type: str = "image/jpeg") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
