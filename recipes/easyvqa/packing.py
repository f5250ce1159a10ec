"""All questions about one picture in one sequence.

The picture's tokens are computed once. Each question attends to the picture and to itself only,
with positions that restart after the picture, so it looks like a conversation of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from recipes.easyvqa.data import Scene
from recipes.mini.chat import END, END_ID, IMAGE_ID, PAD_ID, SPECIALS

_USER, _ASSISTANT = SPECIALS.index("<|user|>"), SPECIALS.index("<|assistant|>")
_IGNORE = -100


@dataclass(frozen=True)
class Packed:
    """Token ids, labels, positions (n, length) int64 and mask (n, 1, length, length) bool."""

    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor


class Packer:
    """Turns scenes into packed conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_tokens: int) -> None:
        """The picture takes ``image_tokens`` after the user's mark, then comes a line break."""
        self._encode = functools.cache(
            lambda text: tuple(tokenizer.encode(text, add_special_tokens=False))
        )
        self._prefix = [_USER, *[IMAGE_ID] * image_tokens, *self._encode("\n")]

    def pack(self, scenes: Sequence[Scene]) -> Packed:
        """Pack each scene's questions into one row."""
        rows = [self._row(scene) for scene in scenes]
        length = max(len(ids) for ids, *_ in rows)
        fills = (PAD_ID, _IGNORE, 0, -1)
        ids, labels, positions, segments = (
            torch.tensor([part + [fill] * (length - len(part)) for part in column])
            for column, fill in zip(zip(*rows, strict=True), fills, strict=True)
        )
        key, query = segments[:, None, :], segments[:, :, None]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = ((key == 0) | (key == query)) & causal
        return Packed(ids, labels, positions, mask[:, None])

    def _row(self, scene: Scene) -> tuple[list[int], ...]:
        """Ids, labels, positions and segments; segment 0 is the picture."""
        ids, start = list(self._prefix), len(self._prefix)
        labels, positions, segments = [_IGNORE] * start, list(range(start)), [0] * start
        for number, (question, answer) in enumerate(scene.pairs, 1):
            asked = [*self._encode(question + END), _ASSISTANT]
            said = [*self._encode(answer), END_ID]
            ids += asked + said
            labels += [_IGNORE] * len(asked) + said
            positions += range(start, start + len(asked) + len(said))
            segments += [number] * (len(asked) + len(said))
        return ids, labels, positions, segments
