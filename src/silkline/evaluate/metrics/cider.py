"""CIDEr-D: agreement with human captions, with rare words weighted higher.

Vedantam et al., CIDEr: Consensus-based Image Description Evaluation, CVPR 2015, section 3 and, for
the variant D with clipped counts and a penalty on length, section 7.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import LETTER, composed

_LONGEST = 4
_SIGMA = 6.0
_SCALE = 10.0
_WORD = re.compile(rf"{LETTER}+(?:(?:'|(?<=\d)[.,](?=\d)){LETTER}+)*")

_Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Vector:
    """TF-IDF weights of a text's n-grams: a table and a norm per n, and the number of words."""

    weights: tuple[Mapping[_Gram, float], ...]
    norms: tuple[float, ...]
    words: int


def cider(items: Sequence[Item], answers: Sequence[str]) -> list[float]:
    """CIDEr-D of each answer, 0 to 10; n-gram frequencies come from the set's references.

    Words are runs of letters and digits in lower case, with inner apostrophes, and with points and
    commas inside numbers. The authors' script uses Penn Treebank tokens, which split "don't" in
    two. As in that script, a text without words scores 0, even against itself. In a set of one item
    all scores are 0, because no word is rare.
    """
    references = [[_words(text) for text in item.references] for item in items]
    found: Counter[_Gram] = Counter()
    for texts in references:
        found.update({gram for words in texts for gram in _grams(words)})
    rarity = _Rarity(math.log(len(items)), found)
    return [
        _score(rarity.vector(_words(answer)), [rarity.vector(words) for words in texts])
        for answer, texts in zip(answers, references, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Rarity:
    """Inverse document frequencies over a set's references."""

    maximum: float
    found: Mapping[_Gram, int]

    def vector(self, words: Sequence[str]) -> _Vector:
        """The TF-IDF vector of a text."""
        weights: tuple[dict[_Gram, float], ...] = tuple({} for _ in range(_LONGEST))
        for gram, count in Counter(_grams(words)).items():
            rare = self.maximum - math.log(max(1, self.found.get(gram, 0)))
            weights[len(gram) - 1][gram] = count * rare
        norms = tuple(math.hypot(*table.values()) for table in weights)
        return _Vector(weights, norms, len(words))


def _score(answer: _Vector, references: Sequence[_Vector]) -> float:
    return _SCALE * sum(_likeness(answer, reference) for reference in references) / len(references)


def _likeness(answer: _Vector, reference: _Vector) -> float:
    """Mean over n of the clipped cosine similarity, with a penalty on length difference."""
    total = 0.0
    for n in range(_LONGEST):
        norm = answer.norms[n] * reference.norms[n]
        if norm:
            table = reference.weights[n]
            common = (
                min(weight, table[gram]) * table[gram]
                for gram, weight in answer.weights[n].items()
                if gram in table
            )
            total += sum(common) / norm
    gap = answer.words - reference.words
    return total / _LONGEST * math.exp(-gap * gap / (2 * _SIGMA**2))


def _words(text: str) -> list[str]:
    return _WORD.findall(composed(text.lower()))


def _grams(words: Sequence[str]) -> Iterator[_Gram]:
    for n in range(1, _LONGEST + 1):
        for start in range(len(words) - n + 1):
            yield tuple(words[start : start + n])
