"""Class numbers that the eyes learn from."""

from __future__ import annotations

from recipes.mini.scene import Scene
from recipes.mini.vocabulary import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    MAX_COUNT,
    PATTERNS,
    WORD_LABELS,
)

HEADS = {
    "category": len(CATEGORIES), "colour": len(COLOURS), "pattern": len(PATTERNS),
    "count": MAX_COUNT, "background": len(BACKGROUNDS), "label": len(WORD_LABELS) + 2,
    "tens": 11, "ones": 11,
}  # fmt: skip
"""Global attributes with their number of classes. ``label``: none, a word, or a price; ``tens``
and ``ones`` are the digits of the price, 10 where there is none."""


def targets(scene: Scene) -> list[int]:
    """Return the class numbers of ``scene`` in the order of ``HEADS``."""
    label, tens, ones = 0, 10, 10
    if scene.label is not None:
        if scene.label.startswith("$"):
            label, price = len(WORD_LABELS) + 1, int(scene.label[1:])
            tens, ones = price // 10 if price > 9 else 10, price % 10
        else:
            label = 1 + WORD_LABELS.index(scene.label)
    return [
        CATEGORIES.index(scene.category), tuple(COLOURS).index(scene.colour),
        PATTERNS.index(scene.pattern), scene.count - 1, BACKGROUNDS.index(scene.background),
        label, tens, ones,
    ]  # fmt: skip
