"""The protocol between the gateway and a decoding child.

A frame is two lengths (`!II`), then a JSON header and a body of those lengths in bytes. The gateway
sends a request and the encoded image, and the child answers with one frame. The only other frame
from the child is the first one, which says that it is ready. Nothing is pickled.

Requests: `{"op", "max_pixels", "cpu_seconds"}`. For images, `op` is `"size"` or `"picture"`, and
there is `"format"`; for documents, `op` is `"pages"` or `"page"`. `"picture"` and `"page"` also
have `"budget": [shortest_edge or null, max_pixels, min_pixels]`; `"picture"` has `"needs_pixels"`,
and `"page"` has `"page"`, an index from 0, and `"dpi"`.

Replies: `{"type": "ready", "confined"}`, `{"type": "size", "width", "height"}`,
`{"type": "pages", "count"}`,
`{"type": "refused", "why"}`, or `{"type": "picture", "width", "height", "original_pixels",
"digest", "perceptual", "brightness", "resize_seconds", "unchanged"}` with the RGB pixels as body;
both digests are in hex. The body is empty if the image is unchanged, its file is not larger than
its pixels, and the request did not need the pixels.

Needs only the standard library, as the child imports it.
"""

from __future__ import annotations

import struct
from enum import StrEnum

LENGTHS = struct.Struct("!II")
"""Lengths of the header and of the body, in bytes."""


class Refusal(StrEnum):
    """Why a child refuses an image or a document; the gateway writes the error message."""

    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MUCH_METADATA = "too_much_metadata"
    TOO_ELONGATED = "too_elongated"
    ENCRYPTED = "encrypted"
    OUT_OF_MEMORY = "out_of_memory"
    UNDECODABLE = "undecodable"


def frame(header: bytes, body_bytes: int) -> bytes:
    """The lengths and header of a frame; the caller sends `body_bytes` bytes of body next."""
    return LENGTHS.pack(len(header), body_bytes) + header
