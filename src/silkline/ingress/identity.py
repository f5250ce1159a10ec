"""What makes two pictures the same picture.

Needs only the standard library: the decoding child computes the digest.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

DIGEST_BYTES = 32


class Identity(NamedTuple):
    """A picture without its pixels.

    Attributes:
        digest: Hex digest of the normalised picture's mode, size and pixels, as `Image.digest`.
        original_pixels: How many pixels it had before its budget.
        perceptual: 64 bits, of which pictures that look alike differ in few; see `perceptual`.
    """

    digest: str
    original_pixels: int
    perceptual: int


def image_digest(mode: str, width: int, height: int, pixels: bytes) -> str:
    """BLAKE2b-256 over mode, size and pixels, in hex.

    Mode and size stand in front, so that a picture of 30 x 100 pixels never equals one of
    100 x 30 with the same bytes.
    """
    state = hashlib.blake2b(f"{mode} {width} {height}\n".encode(), digest_size=DIGEST_BYTES)
    state.update(pixels)
    return state.hexdigest()
