"""The pictures and questions of the package ``easy-vqa``, in three splits.

Test is the package's own. Of its training pictures every tenth is validation: no training sees it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import easy_vqa
import numpy as np
import torch
from PIL import Image
from torch import Tensor

VALIDATION_EVERY: Final = 10
SHAPES: Final = frozenset({"circle", "rectangle", "triangle"})
YES_NO: Final = frozenset({"yes", "no"})
COLORS: Final = frozenset(easy_vqa.get_answers()) - SHAPES - YES_NO


class Split(StrEnum):
    """The splits; pictures are in one only."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Scene:
    """One picture with its questions.

    Attributes:
        number: Of the picture, in its folder of the package.
        path: The picture's file.
        pairs: Questions and answers, all in lower case.
    """

    number: int
    path: Path
    pairs: tuple[tuple[str, str], ...]

    def told(self, names: Set[str]) -> str | None:
        """Return the one of these names that an answer tells; None if none does."""
        return next((answer for _, answer in self.pairs if answer in names), None)


def scenes(split: Split) -> list[Scene]:
    """Return the scenes of a split, by number."""
    test = split is Split.TEST
    texts = easy_vqa.get_test_questions() if test else easy_vqa.get_train_questions()
    paths = easy_vqa.get_test_image_paths() if test else easy_vqa.get_train_image_paths()
    pairs: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in zip(*texts, strict=True):
        pairs.setdefault(number, []).append((question, answer))
    return [
        Scene(number, Path(paths[number]), tuple(pairs[number]))
        for number in sorted(pairs)
        if test or (number % VALIDATION_EVERY == 0) == (split is Split.VALIDATION)
    ]


def kind_of(answer: str) -> str:
    """Return what a question with this answer is about: yes or no, shape or color."""
    return "yes_no" if answer in YES_NO else "shape" if answer in SHAPES else "color"


def group_of(question: str, answer: str) -> str:
    """Return the kind of a question, and of one for yes or no also its subject and its fact.

    The fact is whether what the question names is there: "is there not a red shape", answered by
    no, affirms it.
    """
    kind = kind_of(answer)
    if kind != "yes_no":
        return kind
    subject = "shape" if any(shape in question for shape in SHAPES) else "color"
    there = (answer == "yes") != (" not " in question)
    return f"{subject} {'there' if there else 'missing'}"


def load_pixels(found: list[Scene]) -> Tensor:
    """Return the pictures, (n, 3, 64, 64) uint8."""
    pictures = []
    for scene in found:
        with Image.open(scene.path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def varied(pixels: Tensor, generator: torch.Generator, reach: int = 12) -> Tensor:
    """Return pictures mirrored at random and moved by up to ``reach`` pixels each way."""
    count, _, height, width = pixels.shape
    flips = torch.rand(count, generator=generator) < 0.5
    pixels = torch.where(flips[:, None, None, None], pixels.flip(-1), pixels)
    moves = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    rows = (torch.arange(height) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[:, 1:]).clamp(0, width - 1)
    numbers = torch.arange(count)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def normalised(pixels: Tensor) -> Tensor:
    """Return pictures as the processor gives them: float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1.0
