"""From pixels to what a vision tower of the CLIP kind takes, as transformers' own processor does.

GenAI's pipeline has its own resize, whose numbers differ from Pillow's, by which models were
trained. The steps are those of `CLIPImageProcessor` (transformers 4.57,
models/clip/image_processing_clip.py and image_transforms.py): resize, cut the middle, scale,
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
"""A longer strip than this, once scaled, would take the memory of all others."""

_SIDES = {"height", "width"}
_EDGE = {"shortest_edge"}


class Eye:
    """The steps of one model."""

    def __init__(self, steps: Preprocessing) -> None:
        """Takes steps that `sees` says it can do."""
        self._steps = steps
        self._filter = Pillow.Resampling[(steps.resample or "").upper()]
        levels = (np.arange(_LEVELS) * (steps.rescale or 1.0)).astype(np.float32)
        mean, std = (np.array(values, np.float32) for values in (steps.mean, steps.std))
        self._table: Pixels = (levels[None, :] - mean[:, None]) / std[:, None]
        """What each level of each channel becomes, shape (3, 256)."""

    @staticmethod
    def sees(steps: Preprocessing | None) -> bool:
        """Whether these are steps that this class knows, and lead to one size for every picture.

        Each must be said by the model's files: what one leaves out, a processor of transformers
        fills in by a default of its own.
        """
        if steps is None or steps.resample is None or steps.rescale is None:
            return False
        cut = set(steps.crop) == _SIDES
        one_size = set(steps.size) == _SIDES or (set(steps.size) == _EDGE and cut)
        colours = all(len(values or ()) == len("RGB") for values in (steps.mean, steps.std))
        return one_size and colours and (cut or not steps.crop)

    def check(self, image: Image) -> None:
        """Refuses a picture that would be scaled to an endless strip.

        Raises:
            InvalidRequest: It would.
        """
        width, height = self._size(image.width, image.height)
        if width * height > _MAX_PIXELS:
            raise InvalidRequest(
                f"The picture is {image.width}x{image.height}: this model scales its shorter side "
                "first, and the longer one would be too long then. Crop it."
            )

    def look(self, images: Sequence[Image]) -> Pixels:
        """The pictures as the tower takes them, shape (pictures, 3, height, width)."""
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Image) -> Pixels:
        image = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
        size = self._size(image.width, image.height)
        if size != image.size:
            image = image.resize(size, self._filter)
        levels = np.asarray(image)
        if crop := self._steps.crop:
            levels = _middle(levels, crop["height"], crop["width"])
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
    """A picture in the size that the model takes, where it takes it whole.

    Scaled here by Pillow, as the models' own processors do, it passes through the pipeline's
    resize unchanged. The digest stays that of the client's picture.

    Raises:
        InvalidRequest: The model takes no picture of this shape.
    """
    size, kind = (image.width, image.height), Pillow.Resampling.BICUBIC
    if isinstance(rule, SmartResize):
        size = rule.size(*size)
    elif isinstance(rule, Fixed) and steps is not None and _is_one_size(steps):
        size = (steps.size["width"], steps.size["height"])
        kind = Pillow.Resampling[(steps.resample or "").upper()]
    if size == (image.width, image.height):
        return image
    image = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
    return Image(*size, image.resize(size, kind).tobytes(), image.digest)


def _is_one_size(steps: Preprocessing) -> bool:
    return set(steps.size) == _SIDES and not steps.crop and steps.resample is not None


def _middle(levels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cuts the middle; what the picture does not reach is black."""
    rows, columns = levels.shape[:2]
    if rows < height or columns < width:
        larger = np.zeros((max(rows, height), max(columns, width), 3), np.uint8)
        top, left = -(-(larger.shape[0] - rows) // 2), -(-(larger.shape[1] - columns) // 2)
        larger[top : top + rows, left : left + columns] = levels
        levels = larger
        rows, columns = levels.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    return levels[top : top + height, left : left + width]
