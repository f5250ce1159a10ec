"""LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision: patches of a tower between words."""

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
    OneSize,
    Seen,
    features_of,
    image,
    rule_of,
)
from silkline.models.image_tokens import Anyres, Fixed


class Llava(OneSize):
    """LLaVA-1.5: each picture is cropped to one size (transformers, models/llava)."""

    model_types = frozenset({"llava"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def pixel_budget(self) -> PixelBudget:
        """See `Family`: the shorter edge is scaled to a size, and most filter as ingress does."""
        image = self.files.image
        edge = image.section("size").number("shortest_edge")
        bicubic = PIL.Image.Resampling.BICUBIC
        if edge is None or image.number("resample", minimum=0) not in {None, bicubic}:
            return super().pixel_budget
        return PixelBudget(shortest_edge=edge, max_pixels=super().pixel_budget.max_pixels)


class LlavaNext(Adapter):
    """LLaVA-NeXT: a small copy and tiles, put together without their padding, row by row.

    transformers, models/llava_next.
    """

    model_types = frozenset({"llava_next"})

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        return [self._tiled(image) for image in images]

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        return self._grids(images)

    def _tiled(self, image: PIL.Image.Image) -> Seen:
        tokens = self.rule.count(image.width, image.height).features
        made = self._process([image])
        return self._seen(made["pixel_values"][0], made["image_sizes"][0], tokens)

    def _seen(self, pixels: torch.Tensor, size: torch.Tensor, tokens: int) -> Seen:
        tensors = {"pixel_values": pixels, "image_sizes": size}
        return Seen(self.image_token * tokens, (image(tensors, tokens),))

    def _grids(self, images: Sequence[PreparedImage], **options: Any) -> list[torch.Tensor]:
        sizes = torch.stack([each.tensors["image_sizes"] for each in images])
        pixels = self._joined(images, "pixel_values")
        made = self.model.model.get_image_features(
            pixel_values=pixels, image_sizes=sizes, **options
        )
        return list(features_of(made))


class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision: as LLaVA-NeXT for one picture; several are seen whole, in one size.

    transformers, models/llava_onevision.
    """

    model_types = frozenset({"llava_onevision"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._whole = rule_of(loaded, Anyres).base + 1  # a line break follows

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        if len(images) == 1:
            return [self._tiled(images[0])]
        made = self._process(images)
        sized = zip(made["pixel_values"], made["image_sizes"], strict=True)
        return [self._seen(pixels[:1], size, self._whole) for pixels, size in sized]

    def _features_in(self, images: Sequence[Image]) -> int:
        return self._whole * len(images) if len(images) > 1 else super()._features_in(images)

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Tiled ones and whole ones apart: the model is told which by the pictures of a prompt."""
        whole = [each.tensors["pixel_values"].shape[0] == 1 for each in images]
        groups = {
            is_whole: [each for each, one in zip(images, whole, strict=True) if one is is_whole]
            for is_whole in (False, True)
        }
        made = {
            is_whole: iter(self._grids(group, batch_num_images=counts) if group else [])
            for is_whole, group in groups.items()
            # More than one picture in a prompt is what makes the model take them whole.
            for counts in [[max(2, len(group))] if is_whole else [1] * len(group)]
        }
        return [next(made[is_whole]) for is_whole in whole]
