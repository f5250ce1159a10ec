"""The metric of answers that are paths in a tree of categories."""

from __future__ import annotations

import re

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.words import words_of

_SEPARATOR = re.compile(r"\s*[>\u203a»→]\s*")


_Path = tuple[tuple[str, ...], ...]


def hierarchical_f1(item: Item, answer: str) -> float:
    """F1 of a path's categories, as "Apparel > Shoes > Sneakers", for the best reference.

    From 0 to 1. Precision and recall are over the sets of a category and its ancestors
    (Kiritchenko et al. 2006): a path that is right down to its last level but one loses little. A
    category counts only below the right ancestors, because the same name can stand in several
    branches.

    The mean of items is not the score of MLPerf's product catalogue, which sums the categories of
    all items before it divides, and so weighs items by the lengths of their paths.
    """
    said = _ancestors(answer)
    return max(_f1(said, _ancestors(reference)) for reference in item.references)


def _ancestors(path: str) -> set[_Path]:
    """The category and its ancestors, each as its whole path from the root."""
    parts = _SEPARATOR.split(path.strip())
    levels = [tuple(words_of(part)) for part in parts if part.strip()]
    return {tuple(levels[:depth]) for depth in range(1, len(levels) + 1)}


def _f1(said: set[_Path], right: set[_Path]) -> float:
    total = len(said) + len(right)
    return 2 * len(said & right) / total if total else 1.0
