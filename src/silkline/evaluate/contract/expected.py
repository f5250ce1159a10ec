"""What transformers makes of a case; apart from what computes it, which takes long to import."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Untaken(Exception):
    """Transformers takes no such question for this model."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What transformers makes of a case.

    Attributes:
        pictures: Upright, RGB, as they were sent, in order.
        pixels: For the vision tower, all tiles of all pictures: `[n, 3, height, width]`, or
            flattened patches `[n, numbers]`.
        prompt_ids: With the image token in each place that a feature fills.
        image_tokens: How many these are.
        logits: Of the first token of the answer, `[vocabulary]`.
    """

    images: tuple[Image.Image, ...] = field(repr=False)
    pixels: NDArray[np.float32] = field(repr=False)
    prompt_ids: tuple[int, ...]
    image_tokens: int
    logits: NDArray[np.float32] = field(repr=False)
