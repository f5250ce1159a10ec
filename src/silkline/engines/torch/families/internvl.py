"""InternVL in transformers' format: tiles of one size, with a thumbnail if there are several."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image

from silkline.engines.torch.families.common import ModelParts, Preprocessed, rule_of
from silkline.engines.torch.families.one_size import OneSize
from silkline.models.image_tokens import Tiling


class InternVL(OneSize):
    """InternVL; tiles are encoded separately (transformers, models/internvl)."""

    model_types = frozenset({"internvl"})
    _options: ClassVar = {"crop_to_patches": True}

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`.

        Raises:
            ConfigError: As for `Adapter`, or the tokens around an image are missing.
        """
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Tiling).per_tile
        wrapped = self.tokenizer.wrapped
        self._start = getattr(wrapped, "start_image_token", "<img>")
        self._end = getattr(wrapped, "end_image_token", "</img>")
        for token in (self._start, self._end):
            self.tokenizer.id_of(token)

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [
            Preprocessed(f"{self._start}{image.text}{self._end}", image.images)
            for image in super()._preprocess(images)
        ]
