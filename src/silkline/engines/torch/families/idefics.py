"""Idefics3 and SmolVLM: tiles in rows, then a small copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
from torch import nn

from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import (
    Adapter,
    ModelParts,
    Seen,
    features_of,
    image,
    rule_of,
)
from silkline.models.image_tokens import Splitting

_AROUND = "<fake_token_around_image>"
_WHOLE = "<global-img>"


class Idefics3(Adapter):
    """Idefics3 and SmolVLM; every tile is seen alone (transformers, models/idefics3, smolvlm)."""

    model_types = frozenset({"idefics3", "smolvlm"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`.

        Raises:
            ConfigError: Besides, the tokens that stand around a picture are missing.
        """
        super().__init__(loaded)
        self._per_tile = rule_of(loaded, Splitting).per_tile
        self.tokenizer.id_of(_AROUND)

    @property
    def text_model(self) -> nn.Module:
        """See `Family`."""
        text_model: nn.Module = self.model.model.text_model
        return text_model

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        return [self._tiled(image) for image in images]

    def _tiled(self, image: PIL.Image.Image) -> Seen:
        made = self._process([image], return_row_col_info=True)
        tiles = zip(made["pixel_values"][0], made["pixel_attention_mask"][0], strict=True)
        images = tuple(
            image({"pixel_values": pixels, "pixel_attention_mask": mask}, self._per_tile)
            for pixels, mask in tiles
        )
        return Seen(self._text(int(made["rows"][0][0]), int(made["cols"][0][0])), images)

    def _text(self, rows: int, columns: int) -> str:
        """Where the tiles stand: each after its row and column, the small copy at the end."""
        seen = self.image_token * self._per_tile
        whole = f"{_AROUND}{_WHOLE}{seen}{_AROUND}"
        if rows == 0:
            return whole
        lines = (
            "".join(f"{_AROUND}<row_{row}_col_{column}>{seen}" for column in range(1, columns + 1))
            for row in range(1, rows + 1)
        )
        return "".join(f"{line}\n" for line in lines) + f"\n{whole}"

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Tiles of each shape together, each as a prompt of its own to the model."""
        shapes: dict[Any, list[int]] = {}
        for index, each in enumerate(images):
            shapes.setdefault(each.tensors["pixel_values"].shape, []).append(index)
        found: dict[int, torch.Tensor] = {}
        for indices in shapes.values():
            alike = [images[index] for index in indices]
            made = self.model.model.get_image_features(
                pixel_values=self._stacked(alike, "pixel_values").unsqueeze(1),
                pixel_attention_mask=self._stacked(alike, "pixel_attention_mask").unsqueeze(1),
            )
            found.update(zip(indices, features_of(made), strict=True))
        return [found[index] for index in range(len(images))]
