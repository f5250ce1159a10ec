"""To what size a picture is reduced. Needs only the standard library: the child computes it."""

from __future__ import annotations

import math


def target_size(
    width: int, height: int, shortest_edge: int | None, max_pixels: int
) -> tuple[int, int]:
    """The width and height to which a pixel budget reduces a picture; it never enlarges one.

    With `shortest_edge` the shorter edge becomes that long and the longer one is cut to whole
    pixels, as `get_resize_output_image_size` of Hugging Face transformers does: a model that scales
    to the same edge afterwards changes nothing any more. `max_pixels` has the last word. No edge is
    ever shorter than 1.
    """
    short, long = min(width, height), max(width, height)
    if shortest_edge is not None and short > shortest_edge:
        short, long = shortest_edge, int(shortest_edge * long / short)
    if short * long > max_pixels:
        scale = math.sqrt(max_pixels / (short * long))
        short = max(1, int(short * scale))
        long = max(1, min(int(long * scale), max_pixels // short))
    return (short, long) if width <= height else (long, short)
