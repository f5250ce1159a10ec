"""Metrics of words: exact match, token F1, multiple choice."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from silkline.evaluate.item import Item

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_LETTER = re.compile(r"\s*(?:answer\s*:\s*)?\(?([A-Za-z])\s*(?:[.):]|$)", re.IGNORECASE)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous spaces.

    Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP 2016, 6.1.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(item: Item, answer: str) -> float:
    """1 where the answer equals a reference after `normalised`, else 0."""
    return float(normalised(answer) in map(normalised, item.references))


def token_f1(item: Item, answer: str) -> float:
    """Harmonic mean of precision and recall over words, with the best reference; 0 to 1.

    The F1 of SQuAD (Rajpurkar et al. 2016). Two texts without any words are equal, as in the script
    of SQuAD 2; articles and ASCII punctuation are no words.
    """
    said = normalised(answer).split()
    return max(_f1(said, normalised(reference).split()) for reference in item.references)


def choice_accuracy(item: Item, answer: str) -> float:
    """1 where the answer names the right choice by its letter or its text, else 0."""
    return float(chosen(item.choices, answer) == item.choices.index(item.references[0]))


def chosen(choices: Sequence[str], answer: str) -> int | None:
    """The place of the choice that an answer names; None where it names none.

    A text that equals a choice goes before a letter, or the choice "A" could not be told apart. It
    is compared as it is first, and without punctuation last: "-1" and "1", or "C" and "C++", are
    the same then, and an answer that fits several names none.
    """
    for form in (str.strip, _plain, _bare):
        texts = [form(choice) for choice in choices]
        if fits := texts.count(said := form(answer)):
            return texts.index(said) if fits == 1 else None
    if (letter := _LETTER.match(answer)) is None:
        return None
    place = string.ascii_uppercase.index(letter[1].upper())
    return place if place < len(choices) else None


def _plain(text: str) -> str:
    return text.strip().rstrip(".").casefold()


def _bare(text: str) -> str:
    return normalised(text) or text


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))
