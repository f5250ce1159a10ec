"""PaliGemma and Gemma 3: parts of the prompt attend both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import PIL.Image
import torch

from silkline.core import Role
from silkline.engines.torch.families.base import PreparedImage
from silkline.engines.torch.families.common import ModelParts, OneSize, Seen, rule_of, runs
from silkline.engines.torch.prompt import PlainPrompt
from silkline.models.image_tokens import Fixed


def prefix(turns: Sequence[tuple[Role, str]], images: str) -> str:
    """The prompt that PaliGemma was taught with: the pictures, then a line of words for each turn.

    The processor's token that begins a text, and the line break that ends it, come later.
    """
    return images + "\n".join(text for _, text in turns if text)


class PaliGemma(OneSize):
    """PaliGemma 1 and 2: the whole prompt attends both ways (transformers, models/paligemma)."""

    model_types = frozenset({"paligemma"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def plain_prompt(self) -> PlainPrompt:
        """See `Adapter`."""
        return prefix

    def _ids(self, text: str, seen: Sequence[Seen]) -> list[int]:
        """The text begins after the last picture, and ends with a line break."""
        between = text.split(self.marker)
        before = "".join(words + each.text for words, each in zip(between, seen, strict=False))
        whole = f"{before}{self.tokenizer.begin}{between[-1]}\n"
        return self.tokenizer.encode(whole, special=False)

    def _positions(
        self,
        ids: torch.Tensor,
        images: Sequence[PreparedImage],  # noqa: ARG002
    ) -> tuple[torch.Tensor, int]:
        """Positions begin at 1."""
        return torch.arange(1, len(ids) + 1).unsqueeze(0), len(ids) + 1

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:
        return ((0, len(ids)),)


class Gemma3(OneSize):
    """Gemma 3: each picture attends to itself both ways (transformers, models/gemma3)."""

    model_types = frozenset({"gemma3"})
    _options: ClassVar = {"do_pan_and_scan": False}

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def marker(self) -> str:
        """See `Adapter`: the token that begins a picture."""
        return self.tokenizer.text_of(int(self.config.boi_token_index))

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        end = self.tokenizer.text_of(int(self.config.eoi_token_index))
        return [
            Seen(f"\n\n{self.marker}{each.text}{end}\n\n", each.images)
            for each in super()._see(images)
        ]

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:
        return runs(ids, self.image_token_id)
