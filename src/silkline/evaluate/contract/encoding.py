"""Encoders for the golden pack: Pillow's, and own ones for what Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_ORIENTATION = 0x0112
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_PROFILE_DATE = slice(24, 36)
"""Position of the creation date in an ICC profile's header (ICC.1, section 7.2)."""

_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""The transposition of an upright image before it is stored, by EXIF orientation."""


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Encodes an image with Pillow's encoder of that name."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image, **options: object) -> bytes:
    """A JPEG like a camera's, without chroma subsampling."""
    return encode(image, "JPEG", quality=92, subsampling=0, **options)


def oriented(image: Image.Image, orientation: int) -> bytes:
    """A JPEG that is upright once its EXIF orientation, 1 to 8, is applied."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    turn = _STORED.get(orientation)
    return jpeg(image if turn is None else image.transpose(turn), exif=exif)


def animated_gif(frames: list[Image.Image]) -> bytes:
    """A GIF with several frames."""
    first, *rest = [frame.quantize(64) for frame in frames]
    return encode(first, "GIF", save_all=True, append_images=rest, duration=100)


def swapped_profile() -> bytes:
    """An ICC profile that swaps red and blue; applying it changes the colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_PROFILE_DATE] = bytes(12)
    return (
        bytes(profile).replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    )


def png_16(samples: NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits per sample (PNG specification, section 11.2).

    Args:
        samples: Grey `[height, width]` or RGB `[height, width, 3]`.
    """
    height, width = samples.shape[:2]
    colour = _GREY if samples.ndim == 2 else _RGB  # noqa: PLR2004
    rows = samples.astype(">u2").reshape(height, -1)
    data = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
