"""Idefics3 and SmolVLM: tiles in rows, then a thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
from torch import nn

from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import Adapter, ModelParts, Preprocessed, rule_of
from silkline.engines.torch.families.inputs import features_of, prepared_image
from silkline.models.image_tokens import Splitting

_AROUND = "<fake_token_around_image>"
_WHOLE = "<global-img>"


class Idefics3(Adapter):
    """Idefics3 and SmolVLM; tiles are encoded separately.

    transformers, models/idefics3, models/smolvlm.
    """

    model_types = frozenset({"idefics3", "smolvlm"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`.

        Raises:
            ConfigError: As for `Adapter`, or the tokens around an image are missing.
        """
        super().__init__(loaded)
        self._per_tile = rule_of(loaded, Splitting).per_tile
        self.tokenizer.id_of(_AROUND)

    @property
    def text_model(self) -> nn.Module:
        """See `Family`."""
        text_model: nn.Module = self.model.model.text_model
        return text_model

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [self._tiled(image) for image in images]

    def _tiled(self, image: PIL.Image.Image) -> Preprocessed:
        made = self._process([image], return_row_col_info=True)
        tiles = zip(made["pixel_values"][0], made["pixel_attention_mask"][0], strict=True)
        images = tuple(
            prepared_image({"pixel_values": pixels, "pixel_attention_mask": mask}, self._per_tile)
            for pixels, mask in tiles
        )
        return Preprocessed(self._text(int(made["rows"][0][0]), int(made["cols"][0][0])), images)

    def _text(self, rows: int, columns: int) -> str:
        """The prompt's text for the tiles, each after its row and column, then the thumbnail."""
        tile = self.image_token * self._per_tile
        thumbnail = f"{_AROUND}{_WHOLE}{tile}{_AROUND}"
        if rows == 0:
            return thumbnail
        lines = (
            "".join(f"{_AROUND}<row_{row}_col_{column}>{tile}" for column in range(1, columns + 1))
            for row in range(1, rows + 1)
        )
        return "".join(f"{line}\n" for line in lines) + f"\n{thumbnail}"

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Encodes tiles of the same shape together, each as if it were a prompt of its own."""
        shapes: dict[Any, list[int]] = {}
        for index, image in enumerate(images):
            shapes.setdefault(image.tensors["pixel_values"].shape, []).append(index)
        found: dict[int, torch.Tensor] = {}
        for indices in shapes.values():
            alike = [images[index] for index in indices]
            made = self.model.model.get_image_features(
                pixel_values=self._stacked(alike, "pixel_values").unsqueeze(1),
                pixel_attention_mask=self._stacked(alike, "pixel_attention_mask").unsqueeze(1),
            )
            found.update(zip(indices, features_of(made), strict=True))
        return [found[index] for index in range(len(images))]
