"""Preprocesses images for CLIP-like vision towers as transformers does.

GenAI's pipeline has its own resize, whose values differ from Pillow's, with which models were
trained. The steps are those of `CLIPImageProcessor` (transformers 4.57,
models/clip/image_processing_clip.py and image_transforms.py): resize, centre crop, rescale,
normalise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from silkline.core import Image
from silkline.errors import InvalidRequest
from silkline.models.image_tokens import Fixed, SmartResize, TokenRule
from silkline.models.preprocessing import Preprocessing

Pixels = NDArray[np.float32]

_LEVELS = 256
_MAX_PIXELS = 100_000_000
"""Maximum pixels of a scaled image; a long strip could otherwise use up all memory."""

_SIDES = {"height", "width"}
_EDGE = {"shortest_edge"}


class ClipPreprocessor:
    """The image preprocessing of one model."""

    def __init__(self, steps: Preprocessing) -> None:
        """Takes the model's steps, which must be `supported`."""
        self._steps = steps
        self._filter = Pillow.Resampling[(steps.resample or "").upper()]
        levels = (np.arange(_LEVELS) * (steps.rescale or 1.0)).astype(np.float32)
        mean, std = (np.array(values, np.float32) for values in (steps.mean, steps.std))
        self._table: Pixels = (levels[None, :] - mean[:, None]) / std[:, None]
        """The value of each 8-bit level of each channel, shape (3, 256)."""

    @staticmethod
    def supported(steps: Preprocessing | None) -> bool:
        """Whether this class can do these steps, and they give every image the same size.

        The model's files must state each step: for one that they omit, each processor of
        transformers has its own default.
        """
        if steps is None or steps.resample is None or steps.rescale is None:
            return False
        crops = set(steps.crop) == _SIDES
        one_size = set(steps.size) == _SIDES or (set(steps.size) == _EDGE and crops)
        colours = all(len(values or ()) == len("RGB") for values in (steps.mean, steps.std))
        return one_size and colours and (crops or not steps.crop)

    def check(self, image: Image) -> None:
        """Refuses an image that would become too large when its shorter side is scaled.

        Raises:
            InvalidRequest: It would have more than `_MAX_PIXELS`.
        """
        width, height = self._size(image.width, image.height)
        if width * height > _MAX_PIXELS:
            raise InvalidRequest(
                f"The image is {image.width}x{image.height}. The model scales its shorter side to "
                "a fixed length, which makes the longer side too long. Crop it."
            )

    def pixels(self, images: Sequence[Image]) -> Pixels:
        """The input of the vision tower, shape (images, 3, height, width)."""
        return np.stack([self._pixels(image) for image in images])

    def _pixels(self, image: Image) -> Pixels:
        pillow = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
        size = self._size(image.width, image.height)
        if size != pillow.size:
            pillow = pillow.resize(size, self._filter)
        levels = np.asarray(pillow)
        if crop := self._steps.crop:
            levels = _centre_crop(levels, crop["height"], crop["width"])
        return np.stack([self._table[channel][levels[..., channel]] for channel in range(3)])

    def _size(self, width: int, height: int) -> tuple[int, int]:
        size = self._steps.size
        if set(size) == _SIDES:
            return size["width"], size["height"]
        edge = size["shortest_edge"]
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge


def scaled(image: Image, rule: TokenRule | None, steps: Preprocessing | None) -> Image:
    """Scales an image to the size that the model expects, unless the model crops it.

    Pillow scales it as the models' own processors do, so the pipeline's resize leaves it unchanged.
    The digest stays that of the client's image.

    Raises:
        InvalidRequest: The model does not accept an image of this shape.
    """
    size, resampling = (image.width, image.height), Pillow.Resampling.BICUBIC
    if isinstance(rule, SmartResize):
        size = rule.size(*size)
    elif isinstance(rule, Fixed) and steps is not None and _is_one_size(steps):
        size = (steps.size["width"], steps.size["height"])
        resampling = Pillow.Resampling[(steps.resample or "").upper()]
    if size == (image.width, image.height):
        return image
    pillow = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
    return Image(*size, pillow.resize(size, resampling).tobytes(), image.digest)


def _is_one_size(steps: Preprocessing) -> bool:
    return set(steps.size) == _SIDES and not steps.crop and steps.resample is not None


def _centre_crop(levels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Crops the centre; pads a smaller image with black."""
    rows, columns = levels.shape[:2]
    if rows < height or columns < width:
        larger = np.zeros((max(rows, height), max(columns, width), 3), np.uint8)
        top, left = -(-(larger.shape[0] - rows) // 2), -(-(larger.shape[1] - columns) // 2)
        larger[top : top + rows, left : left + columns] = levels
        levels = larger
        rows, columns = levels.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    return levels[top : top + height, left : left + width]
