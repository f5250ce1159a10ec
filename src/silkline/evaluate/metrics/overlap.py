"""Metrics of how far two texts overlap, by rapidfuzz: ANLS and ROUGE-L.

Both need the extra `evaluate`; it is imported where it is used.
"""

from __future__ import annotations

import re

from silkline.errors import EnvironmentFault
from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import LETTER, composed

_THRESHOLD = 0.5
_WORD = re.compile(f"{LETTER}+")

INSTALL = "pip install 'silkline[evaluate]'"
"""The command that brings what this file and the Parquet reader need."""


def check_installed() -> None:
    """Raises `EnvironmentFault` where rapidfuzz is missing."""
    try:
        import rapidfuzz  # noqa: F401, PLC0415
    except ImportError as error:
        raise EnvironmentFault(
            f"The metrics anls and rouge_l need rapidfuzz. Run: {INSTALL}."
        ) from error


def anls(item: Item, answer: str) -> float:
    """Similarity by Levenshtein distance to the nearest reference; 0 where it is under 0.5.

    One minus the distance over the longer text's length, without regard to case and outer spaces;
    0 to 1. Biten et al., Scene Text Visual Question Answering, ICCV 2019, equation 1, but for a
    similarity of exactly 0.5: it is 0 there, and counts here as in the script of the challenge
    (rrc.cvc.uab.es). Inner spaces count as one in the length too, which the script leaves as it is,
    and an accent apart from its letter is composed with it.
    """
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415

    said = _plain(answer)
    best = max(
        Levenshtein.normalized_similarity(said, _plain(reference)) for reference in item.references
    )
    return float(best) if best >= _THRESHOLD else 0.0


def rouge_l(item: Item, answer: str) -> float:
    """F1 over the longest common subsequence of words, with the best reference; 0 to 1.

    Words are runs of letters and digits, with their accents, in lower case, unstemmed. Lin, ROUGE:
    A Package for Automatic Evaluation of Summaries, 2004, section 3.1, with beta = 1. ROUGE-1.5.5
    and rouge-score know the letters a to z only: there "café" is "caf", and Chinese has no words.
    Without any words they give 0; here equal texts are 1.
    """
    return max(_rouge(answer, reference) for reference in item.references)


def _rouge(answer: str, reference: str) -> float:
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415

    said, right = (_words(one) for one in (answer, reference))
    if not said or not right:
        return float(composed(answer).split() == composed(reference).split())
    common: int = LCSseq.similarity(said, right)
    return 2 * common / (len(said) + len(right))


def _words(text: str) -> list[str]:
    return _WORD.findall(composed(text.lower()))


def _plain(text: str) -> str:
    return " ".join(composed(text.lower()).split())
