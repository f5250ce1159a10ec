"""PaliGemma and Gemma 3: parts of the prompt have bidirectional attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import PIL.Image
import torch

from silkline.core import Role
from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import ModelParts, Preprocessed, rule_of
from silkline.engines.torch.families.inputs import runs
from silkline.engines.torch.families.one_size import OneSize
from silkline.engines.torch.prompt import PlainPrompt
from silkline.models.image_tokens import Fixed


def prefix(turns: Sequence[tuple[Role, str]], images: str) -> str:
    """Renders the prompt format of PaliGemma's training: images, then a line of text per turn.

    The token that begins the text, and the line break that ends it, are added in `_ids`.
    """
    return images + "\n".join(text for _, text in turns if text)


class PaliGemma(OneSize):
    """PaliGemma 1 and 2: bidirectional attention in the prompt (transformers, models/paligemma)."""

    model_types = frozenset({"paligemma"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def plain_prompt(self) -> PlainPrompt:
        """See `Adapter`."""
        return prefix

    def _ids(self, text: str, preprocessed: Sequence[Preprocessed]) -> list[int]:
        """The token that begins the text follows the last image; a line break ends the prompt."""
        between = text.split(self.marker)
        before = "".join(
            words + image.text for words, image in zip(between, preprocessed, strict=False)
        )
        whole = f"{before}{self.tokenizer.begin}{between[-1]}\n"
        return self.tokenizer.encode(whole, special=False)

    def _positions(
        self,
        ids: torch.Tensor,
        images: Sequence[PreparedImage],  # noqa: ARG002
    ) -> tuple[torch.Tensor, int]:
        """Positions start at 1."""
        return torch.arange(1, len(ids) + 1).unsqueeze(0), len(ids) + 1

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:
        return ((0, len(ids)),)


class Gemma3(OneSize):
    """Gemma 3: bidirectional attention within each image (transformers, models/gemma3)."""

    model_types = frozenset({"gemma3"})
    _options: ClassVar = {"do_pan_and_scan": False}

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def marker(self) -> str:
        """See `Adapter`; the token that begins an image."""
        return self.tokenizer.text_of(int(self.config.boi_token_index))

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        end = self.tokenizer.text_of(int(self.config.eoi_token_index))
        return [
            Preprocessed(f"\n\n{self.marker}{image.text}{end}\n\n", image.images)
            for image in super()._preprocess(images)
        ]

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:
        return runs(ids, self.image_token_id)
