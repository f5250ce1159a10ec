"""InternVL as transformers has it: tiles of one size, and a small copy where there are several."""

from __future__ import annotations

from typing import ClassVar

import PIL.Image

from silkline.engines.torch.families.common import ModelParts, OneSize, Seen, rule_of
from silkline.models.image_tokens import Tiling


class InternVL(OneSize):
    """InternVL (transformers, models/internvl); every tile is seen alone."""

    model_types = frozenset({"internvl"})
    _options: ClassVar = {"crop_to_patches": True}

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`.

        Raises:
            ConfigError: Besides, the tokens that stand around a picture are missing.
        """
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Tiling).per_tile
        wrapped = self.tokenizer.wrapped
        self._start = getattr(wrapped, "start_image_token", "<img>")
        self._end = getattr(wrapped, "end_image_token", "</img>")
        for token in (self._start, self._end):
            self.tokenizer.id_of(token)

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        return [
            Seen(f"{self._start}{each.text}{self._end}", each.images)
            for each in super()._see(images)
        ]
