"""The identity of an image: the digests by which it is recognised.

Needs only the standard library: the decoding child computes the digest.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

DIGEST_BYTES = 32


class Identity(NamedTuple):
    """What is known about an image without its pixels: digests, sizes, format and brightness.

    Attributes:
        digest: As `Image.digest`: of the normalised image's mode, size and pixels, or of its file.
        original_pixels: Number of pixels before the pixel budget.
        perceptual: Perceptual digest, 64 bits; images that look alike differ in few of them. None
            for a page of a document (pages of text look alike, whatever they say) and for a file
            that was not decoded.
        width: Its width in pixels after the pixel budget; 0 if unknown.
        height: Its height; the same.
        file_format: The format of its file in small letters, such as `jpeg` or `pdf`.
        brightness: Mean luma, 0 (black) to 255 (white); None if its file was not decoded.
    """

    digest: str
    original_pixels: int
    perceptual: int | None
    width: int = 0
    height: int = 0
    file_format: str = ""
    brightness: int | None = None


class Recognised(NamedTuple):
    """What is known about a source without its pixels.

    Attributes:
        images: The identities of its images: one, or one for each page of a document.
        mends: What was mended in its Base64, as `Base64Data.mends`.
    """

    images: tuple[Identity, ...]
    mends: tuple[str, ...] = ()


def file_digest(sha256: bytes) -> str:
    """The digest of an image whose file was not decoded; never equal to one of pixels."""
    return f"file:{sha256.hex()}"


def image_digest(mode: str, width: int, height: int, pixels: bytes) -> str:
    """BLAKE2b-256 over mode, size and pixels, in hex.

    Mode and size come first, so that an image of 30 x 100 pixels never equals one of 100 x 30 with
    the same bytes.
    """
    state = hashlib.blake2b(f"{mode} {width} {height}\n".encode(), digest_size=DIGEST_BYTES)
    state.update(pixels)
    return state.hexdigest()
