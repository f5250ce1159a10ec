"""The expected result of a case, in a module that imports quickly, without transformers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Untaken(Exception):
    """Raised if transformers does not support a case for this model."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The result of transformers for a case.

    Attributes:
        images: The images as sent, in order, upright and in RGB.
        pixels: Inputs of the vision tower, all tiles of all images: `[n, 3, height, width]`, or
            flattened patches `[n, numbers]`.
        prompt_ids: The prompt's token ids, with an image token at each position of a feature.
        image_tokens: The number of image tokens.
        logits: Logits of the answer's first token, `[vocabulary]`.
    """

    images: tuple[Image.Image, ...] = field(repr=False)
    pixels: NDArray[np.float32] = field(repr=False)
    prompt_ids: tuple[int, ...]
    image_tokens: int
    logits: NDArray[np.float32] = field(repr=False)
