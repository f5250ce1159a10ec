"""The metric of answers that are paths in a tree of categories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.records import parse_record
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
    all items before it divides, and so weighs items by the lengths of their paths: `catalogue_f1`.
    """
    said = _ancestors(answer)
    return max(_f1(said, _ancestors(reference)) for reference in item.references)


def catalogue_f1(items: Sequence[Item], answers: Sequence[str | None]) -> float:
    """The hierarchical F1 of MLPerf's product catalogue, from 0 to 1.

    The right categories, counted from the root to the first difference, are summed over all items
    before precision and recall are formed, so an item weighs as much as its path is long. Names
    are compared exactly. An answer that is JSON has its path in `category`; an item whose reference
    is a record has the record's values as its path. No answer counts as a wrong path as long as
    the right one.
    """
    shared = said = right = 0
    for item, answer in zip(items, answers, strict=True):
        truth = _levels(item.references[0]) if item.record is None else _values(item.record, item)
        given = _path_of(item, answer)
        shared += _shared(given, truth)
        said += len(truth) if given is None else len(given)
        right += len(truth)
    return 2 * shared / (said + right) if said + right else 1.0


def _path_of(item: Item, answer: str | None) -> list[str] | None:
    """The path in an answer; None if there is none."""
    found = None if answer is None else parse_record(answer)
    if item.record is not None:
        return None if found is None else _values(found, item)
    if found is not None and isinstance(found.get("category"), str):
        return _levels(found["category"])
    return None if not answer or not answer.strip() else _levels(answer)


def _values(record: Mapping[str, Any], item: Item) -> list[str]:
    return [str(record.get(name)) for name in item.record or ()]


def _levels(path: str) -> list[str]:
    return [level.strip() for level in path.split(">")]


def _shared(given: list[str] | None, truth: list[str]) -> int:
    pairs = enumerate(zip(given or (), truth, strict=False))
    return next(
        (depth for depth, (one, other) in pairs if one != other), min(len(given or ()), len(truth))
    )


def _ancestors(path: str) -> set[_Path]:
    """The category and its ancestors, each as its whole path from the root."""
    parts = _SEPARATOR.split(path.strip())
    levels = [tuple(words_of(part)) for part in parts if part.strip()]
    return {tuple(levels[:depth]) for depth in range(1, len(levels) + 1)}


def _f1(said: set[_Path], right: set[_Path]) -> float:
    total = len(said) + len(right)
    return 2 * len(said & right) / total if total else 1.0
