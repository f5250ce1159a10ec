"""Computes the size that an image is resized to. Standard library only: it runs in the child."""

from __future__ import annotations

import math
from typing import Final

MAX_ELONGATION: Final = 200
"""Maximum ratio of an image's longer edge to its shorter one."""


def target_size(
    width: int, height: int, shortest_edge: int | None, max_pixels: int, min_pixels: int = 0
) -> tuple[int, int]:
    """Returns the width and height that a pixel budget gives an image.

    `shortest_edge` sets the length of the shorter edge of larger images; the longer one is rounded
    down to whole pixels, as in `get_resize_output_image_size` of Hugging Face transformers, so a
    model that scales to the same edge afterwards changes nothing. Without it, an image with fewer
    than `min_pixels` is enlarged. `max_pixels` is applied last. No edge is ever shorter than 1.
    """
    short, long = min(width, height), max(width, height)
    if shortest_edge is None:
        if short * long < min_pixels:
            scale = math.sqrt(min_pixels / (short * long))
            short, long = math.ceil(short * scale), math.ceil(long * scale)
    elif short > shortest_edge:
        short, long = shortest_edge, int(shortest_edge * long / short)
    if short * long > max_pixels:
        scale = math.sqrt(max_pixels / (short * long))
        short = max(1, int(short * scale))
        long = max(1, min(int(long * scale), max_pixels // short))
    return (short, long) if width <= height else (long, short)
