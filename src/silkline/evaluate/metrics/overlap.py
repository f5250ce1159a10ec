"""Metrics of how far two texts overlap, by rapidfuzz: ANLS and ROUGE-L.

Both need the extra `evaluate`; it is imported where it is used.
"""

from __future__ import annotations

import re

from silkline.errors import EnvironmentFault
from silkline.evaluate.item import Item

_THRESHOLD = 0.5
_WORD = re.compile(r"[a-z0-9]+")

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
    0 to 1. Biten et al., Scene Text Visual Question Answering, ICCV 2019, equation 1.
    """
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415

    said = _plain(answer)
    best = max(
        Levenshtein.normalized_similarity(said, _plain(reference)) for reference in item.references
    )
    return float(best) if best >= _THRESHOLD else 0.0


def rouge_l(item: Item, answer: str) -> float:
    """F1 over the longest common subsequence of words, with the best reference; 0 to 1.

    Words are runs of a-z and 0-9 in lower case, unstemmed, as in ROUGE-1.5.5. Lin, ROUGE: A Package
    for Automatic Evaluation of Summaries, 2004, section 3.1, with beta = 1.
    """
    said = _WORD.findall(answer.lower())
    return max(_rouge(said, _WORD.findall(one.lower())) for one in item.references)


def _rouge(said: list[str], right: list[str]) -> float:
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415

    if not said or not right:
        return float(said == right)
    common: int = LCSseq.similarity(said, right)
    return 2 * common / (len(said) + len(right))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
