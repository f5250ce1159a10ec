"""Qwen-VL: one token per cell of an image, and positions in three axes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch

from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import Adapter, ModelParts, Preprocessed, rule_of
from silkline.engines.torch.families.inputs import features_of, prepared_image
from silkline.models.image_tokens import SmartResize


class QwenVL(Adapter):
    """Qwen2-VL, Qwen2.5-VL, and Qwen3.5, whose checkpoints are also named Qwen3.6 and Qwen3.8.

    transformers, models/qwen2_vl, models/qwen2_5_vl, models/qwen3_5, models/qwen3_5_moe.
    """

    model_types = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_5", "qwen3_5_moe"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._cell = rule_of(loaded, SmartResize).cell
        rope_index = inspect.signature(self.model.model.get_rope_index)
        self._takes_token_types = "mm_token_type_ids" in rope_index.parameters

    @property
    def pixels_per_token(self) -> int | None:
        """See `Family`."""
        share = 1.0 if self.pruning is None else self.pruning.keep
        return round(self._cell**2 / share)

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [self._cells(image) for image in images]

    def _cells(self, image: PIL.Image.Image) -> Preprocessed:
        made = self._process([image])
        grid = made["image_grid_thw"][0]
        tokens = int(grid.prod()) // self.config.vision_config.spatial_merge_size**2
        tensors = {"pixel_values": made["pixel_values"], "image_grid_thw": grid}
        return Preprocessed(self.image_token * tokens, (prepared_image(tensors, tokens),))

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        made = self.model.model.get_image_features(
            pixel_values=self._joined(images, "pixel_values"),
            image_grid_thw=self._stacked(images, "image_grid_thw"),
        )
        return list(features_of(made))

    def _positions(
        self, ids: torch.Tensor, images: Sequence[PreparedImage]
    ) -> tuple[torch.Tensor, int]:
        """Positions in time, height and width, by the model's own rule; equal for text."""
        if not images:
            return torch.arange(len(ids)).expand(3, -1), len(ids)
        options: dict[str, Any] = {}
        if self._takes_token_types:
            options["mm_token_type_ids"] = (ids == self.image_token_id).int().unsqueeze(0)
        grids = torch.stack([image.tensors["image_grid_thw"] for image in images])
        positions, _ = self.model.model.get_rope_index(
            ids.unsqueeze(0), image_grid_thw=grids, **options
        )
        return positions[:, 0], int(positions.max()) + 1


class Qwen3VL(QwenVL):
    """Qwen3-VL, whose first text layers each add features of another layer of the vision tower.

    transformers, models/qwen3_vl, models/qwen3_vl_moe. The features of an image are
    `[tokens, (1 + n) * hidden]`: the embeddings, then those for the first n layers ("DeepStack").
    """

    model_types = frozenset({"qwen3_vl", "qwen3_vl_moe"})

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        made = self.model.model.get_image_features(
            pixel_values=self._joined(images, "pixel_values"),
            image_grid_thw=self._stacked(images, "image_grid_thw"),
        )
        # transformers 4 returns a pair, 5 an object; both split some of the tensors by image.
        pair = made if isinstance(made, tuple) else (made.pooler_output, made.deepstack_features)
        columns = [_whole(tensor) for tensor in (pair[0], *pair[1])]
        return list(torch.split(torch.cat(columns, 1), [image.features for image in images]))

    def text_arguments(self, inputs: torch.Tensor) -> dict[str, Any]:
        """See `Family`; without image features, the layers get nothing to add."""
        width = int(self.config.get_text_config().hidden_size)
        embeddings, *added = torch.split(inputs.unsqueeze(0), width, 2)
        if not added:
            return {"inputs_embeds": embeddings}
        # An index of the batch instead of a mask of tokens: added to all of them, zeros to text.
        every = torch.zeros(1, dtype=torch.int64, device=inputs.device)
        return {
            "inputs_embeds": embeddings,
            "visual_pos_masks": every,
            "deepstack_visual_embeds": added,
        }


def _whole(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenates features that are split by image."""
    return features if isinstance(features, torch.Tensor) else torch.cat(list(features))
