"""Metrics of words: exact match and token F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.words import is_same, words_of


def exact_match(item: Item, answer: str) -> float:
    """1 if the answer has the same words and numbers as a reference, else 0."""
    said = words_of(answer)
    return float(any(is_same(said, words_of(reference)) for reference in item.references))


def token_f1(item: Item, answer: str) -> float:
    """F1 of the answer's words for the best reference: harmonic mean of precision and recall.

    From 0 to 1. The F1 of SQuAD (Rajpurkar et al. 2016) over the words of `exact_match`, so an
    answer that matches a reference exactly scores 1. SQuAD 2 treats any two texts without words as
    equal; here the texts themselves are compared.
    """
    said = words_of(answer)
    return max(_f1(said, words_of(reference)) for reference in item.references)


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    if is_same(said, right):
        return 1.0
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))
