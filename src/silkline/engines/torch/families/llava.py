"""LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision: patch features of a vision tower between text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch

from silkline.core import Image, PixelBudget
from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import (
    Adapter,
    ModelParts,
    Preprocessed,
    rule_of,
)
from silkline.engines.torch.families.inputs import features_of, prepared_image
from silkline.engines.torch.families.one_size import OneSize
from silkline.models.image_tokens import Anyres, Count, Fixed


class Llava(OneSize):
    """LLaVA-1.5: each image is cropped to one size (transformers, models/llava)."""

    model_types = frozenset({"llava"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def pixel_budget(self) -> PixelBudget:
        """See `Family`; images are reduced by their shorter edge if the model resizes bicubically.

        Ingress resizes with the same filter, so it may do this part of the preprocessing.
        """
        image = self.files.image
        edge = image.section("size").number("shortest_edge")
        bicubic = PIL.Image.Resampling.BICUBIC
        if edge is None or image.number("resample", minimum=0) not in {None, bicubic}:
            return super().pixel_budget
        return PixelBudget(shortest_edge=edge, max_pixels=super().pixel_budget.max_pixels)


class LlavaNext(Adapter):
    """LLaVA-NeXT: a thumbnail and tiles, whose features are joined row by row without padding.

    transformers, models/llava_next.
    """

    model_types = frozenset({"llava_next"})

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [self._tiled(image) for image in images]

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        return self._grids(images)

    def _tiled(self, image: PIL.Image.Image) -> Preprocessed:
        tokens = self.rule.count(image.width, image.height).features
        made = self._process([image])
        return self._preprocessed(made["pixel_values"][0], made["image_sizes"][0], tokens)

    def _preprocessed(self, pixels: torch.Tensor, size: torch.Tensor, tokens: int) -> Preprocessed:
        tensors = {"pixel_values": pixels, "image_sizes": size}
        return Preprocessed(self.image_token * tokens, (prepared_image(tensors, tokens),))

    def _grids(self, images: Sequence[PreparedImage], **options: Any) -> list[torch.Tensor]:
        sizes = torch.stack([image.tensors["image_sizes"] for image in images])
        pixels = self._joined(images, "pixel_values")
        made = self.model.model.get_image_features(
            pixel_values=pixels, image_sizes=sizes, **options
        )
        return list(features_of(made))


class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision: one image is tiled as in LLaVA-NeXT; several are not, but have one size.

    transformers, models/llava_onevision.
    """

    model_types = frozenset({"llava_onevision"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._untiled_tokens = rule_of(loaded, Anyres).base + 1  # a line break follows

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        if len(images) == 1:
            return [self._tiled(images[0])]
        made = self._process(images)
        sized = zip(made["pixel_values"], made["image_sizes"], strict=True)
        return [
            self._preprocessed(pixels[:1], size, self._untiled_tokens) for pixels, size in sized
        ]

    def _counts(self, images: Sequence[Image]) -> list[Count]:
        several = len(images) > 1
        return [Count(self._untiled_tokens)] * len(images) if several else super()._counts(images)

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Encodes tiled and untiled images separately, as a call of the model takes one kind."""
        kinds = [image.tensors["pixel_values"].shape[0] == 1 for image in images]
        groups: dict[bool, list[PreparedImage]] = {False: [], True: []}
        for image, untiled in zip(images, kinds, strict=True):
            groups[untiled].append(image)
        made = {
            untiled: iter(self._grids(group, batch_num_images=counts) if group else [])
            for untiled, group in groups.items()
            # The model treats images as untiled if `batch_num_images` is more than one.
            for counts in [[max(2, len(group))] if untiled else [1] * len(group)]
        }
        return [next(made[untiled]) for untiled in kinds]
