"""What the gateway and a decoding child say to each other.

A frame is two lengths, a JSON header and a body: `!II`, then so many bytes of each. The gateway
sends a request and the encoded picture; the child answers with one frame, and says nothing unasked
but the first frame, by which it is ready. Nothing is pickled.

Requests: `{"op": "size" | "picture", "format", "max_pixels", "cpu_seconds"}`, for a picture also
`"budget": [shortest_edge or null, max_pixels]`. Replies: `{"type": "ready", "confined"}`,
`{"type": "size", "width", "height"}`, `{"type": "refused", "why"}`, or `{"type": "picture",
"width", "height", "original_pixels", "digest", "perceptual", "resize_seconds"}` with the RGB pixels
as body; both digests are in hex.

Needs only the standard library, as the child imports it.
"""

from __future__ import annotations

import struct
from enum import StrEnum

LENGTHS = struct.Struct("!II")
"""Bytes of the header, bytes of the body."""


class Refusal(StrEnum):
    """Why a child does not give a picture; the gateway has the words for it."""

    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MUCH_METADATA = "too_much_metadata"
    TOO_ELONGATED = "too_elongated"
    OUT_OF_MEMORY = "out_of_memory"
    UNDECODABLE = "undecodable"


def frame(header: bytes, body_bytes: int) -> bytes:
    """The beginning of a frame, after which `body_bytes` bytes of body follow."""
    return LENGTHS.pack(len(header), body_bytes) + header
