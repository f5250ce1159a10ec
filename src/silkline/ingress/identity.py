"""What makes two pictures the same picture.

Needs only the standard library: the decoding child computes the digest.
"""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 32


def picture_digest(mode: str, width: int, height: int, pixels: bytes) -> str:
    """BLAKE2b-256 over mode, size and pixels, in hex.

    Mode and size stand in front, so that a picture of 30 x 100 pixels never equals one of
    100 x 30 with the same bytes.
    """
    state = hashlib.blake2b(f"{mode} {width} {height}\n".encode(), digest_size=DIGEST_BYTES)
    state.update(pixels)
    return state.hexdigest()
