"""The closed world of silkline-mini: what a picture can show and the words for it."""

from __future__ import annotations

from typing import Final

CATEGORIES: Final[tuple[str, ...]] = (
    "mug", "t-shirt", "sneaker", "backpack", "lamp", "chair", "bottle", "watch",
    "table", "sofa", "hat", "glasses", "umbrella", "book", "laptop", "phone",
    "headphones", "camera", "teapot", "vase", "handbag", "dress", "trousers", "sock",
)  # fmt: skip
"""Item names in singular; the index is the class number used by the dense labels."""

PLURALS: Final[dict[str, str]] = {
    "watch": "watches", "glasses": "glasses", "headphones": "headphones",
    "trousers": "trousers", "dress": "dresses",
}  # fmt: skip
"""Plurals that are not formed by a plain "s"."""

PLAIN_ONLY: Final[frozenset[str]] = frozenset({"glasses", "headphones", "laptop", "chair"})
"""Items without a surface large enough to show a pattern."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (205, 30, 35),
    "orange": (245, 130, 20),
    "yellow": (245, 215, 40),
    "green": (40, 150, 60),
    "blue": (35, 80, 200),
    "purple": (125, 50, 165),
    "pink": (250, 140, 185),
    "brown": (115, 70, 35),
    "black": (30, 30, 34),
    "white": (243, 243, 240),
}
"""Colour names with their central sRGB value; pictures jitter around it."""

PATTERNS: Final[tuple[str, ...]] = ("plain", "striped", "dotted", "checked")
BACKGROUNDS: Final[tuple[str, ...]] = ("plain", "gradient", "textured", "shelf")

WORD_LABELS: Final[tuple[str, ...]] = ("SALE", "NEW", "ECO", "TOP")
"""Words that a tag can carry; other tags carry a price from "$1" to "$99"."""

MAX_COUNT: Final[int] = 3
PICTURE_SIZE: Final[int] = 96
PATCH_SIZE: Final[int] = 12
GRID: Final[int] = PICTURE_SIZE // PATCH_SIZE


def plural(category: str) -> str:
    """Return the plural of a category name."""
    return PLURALS.get(category, category + "s")


def with_article(phrase: str, category: str) -> str:
    """Put "a", "an" or "a pair of" before ``phrase`` (which ends in ``category``)."""
    if category in {"glasses", "headphones", "trousers"}:
        return f"a pair of {phrase}"
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
