"""The base class of families whose images or tiles all have one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import PIL.Image
import torch

from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import Adapter, Preprocessed
from silkline.engines.torch.families.inputs import features_of, prepared_image


class OneSize(Adapter):
    """Base class of families whose images or tiles all have one size and are encoded separately."""

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [self._preprocessed(self._process([image], **self._options)) for image in images]

    _options: ClassVar[dict[str, Any]] = {}
    """Arguments that the family's processor passes to the image processor."""

    _per_image: int
    """Number of features of an image or tile; set by each subclass."""

    def _preprocessed(self, made: Mapping[str, Any]) -> Preprocessed:
        """Splits `pixel_values` `[n, 3, height, width]` into `n` images, with their text."""
        images = tuple(
            prepared_image({"pixel_values": pixels}, self._per_image)
            for pixels in made["pixel_values"]
        )
        return Preprocessed(self.image_token * (self._per_image * len(images)), images)

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        pixels = self._stacked(images, "pixel_values")
        features = features_of(self._tower.get_image_features(pixel_values=pixels))
        return list(features)

    @property
    def _tower(self) -> Any:
        """The part of the model that has `get_image_features`."""
        return self.model.model
