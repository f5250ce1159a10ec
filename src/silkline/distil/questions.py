"""The questions of a data set, as a model's inputs: the prompt path is the torch engine's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from silkline.core import Image, ImagePart, Message, Role, TextPart
from silkline.engines.torch.families.common import Adapter

_KEPT_IMAGES = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions about images.

    Attributes:
        images: The images.
        pairs: For each question the index of its image, and its prompt.
    """

    images: Sequence[Image]
    pairs: Sequence[tuple[int, str]]

    def of(self, numbers: Sequence[int]) -> Asked:
        """Returns some of the questions, by index, with their images only."""
        chosen = [self.pairs[number] for number in numbers]
        used = {image: number for number, image in enumerate(dict.fromkeys(i for i, _ in chosen))}
        return Asked([self.images[image] for image in used], [(used[i], p) for i, p in chosen])


class Questions:
    """Questions as inputs of a model of the LLaVA layout, whose images all take as many tokens."""

    def __init__(self, family: Adapter, asked: Asked) -> None:
        """Takes the loaded model, and at least one question."""
        self._family = family
        self.asked = asked
        self.ids = lru_cache(maxsize=None)(self._ids)
        self._pixels = lru_cache(maxsize=_KEPT_IMAGES)(self._processed)

    def __len__(self) -> int:
        return len(self.asked.pairs)

    def prompt(self, number: int) -> tuple[int, ...]:
        """Returns the tokens of a question's prompt, image tokens included."""
        return self.ids(self.asked.pairs[number][1])

    def pixels(self, numbers: Sequence[int], device: torch.device) -> Tensor:
        """Returns images as the model sees them, (n, channels, height, width), by question."""
        found = [self._pixels(self.asked.pairs[number][0]) for number in numbers]
        return torch.stack(found).to(device)

    def _ids(self, prompt: str) -> tuple[int, ...]:
        asked = self._message(prompt)
        return tuple(self._family.prepare((asked,), self.asked.images[:1]).ids.tolist())

    def _processed(self, image: int) -> Tensor:
        prepared = self._family.prepare((self._message("-"),), (self.asked.images[image],))
        return prepared.images[0].tensors["pixel_values"]

    @staticmethod
    def _message(prompt: str) -> Message:
        return Message(Role.USER, (ImagePart(0), TextPart(prompt)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of a model, padded.

    Attributes:
        ids: Tokens, (n, length).
        mask: 1 where there is a token, (n, length).
        pixels: Images, (n, channels, height, width).
    """

    ids: Tensor
    mask: Tensor
    pixels: Tensor

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the model's `forward`."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "pixel_values": self.pixels,
        }


def padded(
    rows: Sequence[Sequence[int]], pixels: Tensor, padding: int, *, left: bool = False
) -> Batch:
    """Pads rows of tokens to one length, after them or to their left."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), padding)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        where = slice(length - len(row), length) if left else slice(0, len(row))
        ids[number, where] = torch.tensor(row)
        mask[number, where] = 1
    return Batch(ids.to(pixels.device), mask.to(pixels.device), pixels)
