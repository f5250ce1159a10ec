"""Metrics of text overlap: ANLS and ROUGE-L.

Both need rapidfuzz, from the extra `evaluate`; it is imported on use.
"""

from __future__ import annotations

import re

from silkline.errors import EnvironmentFault
from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import LETTER, composed

_THRESHOLD = 0.5
_WORD = re.compile(f"{LETTER}+")

INSTALL = "pip install 'silkline[evaluate]'"
"""The command that installs the dependencies of this module and of the Parquet reader."""


def check_installed() -> None:
    """Raises `EnvironmentFault` if rapidfuzz is not installed."""
    try:
        import rapidfuzz  # noqa: F401, PLC0415
    except ImportError as error:
        raise EnvironmentFault(
            f"The metrics anls and rouge_l need rapidfuzz. Run: {INSTALL}."
        ) from error


def anls(item: Item, answer: str) -> float:
    """Levenshtein similarity to the closest reference; 0 if it is below 0.5.

    One minus the distance divided by the longer text's length, ignoring case and outer spaces; 0 to
    1. Biten et al., Scene Text Visual Question Answering, ICCV 2019, equation 1, except that a
    similarity of exactly 0.5 counts, as in the script of the challenge (rrc.cvc.uab.es). Unlike
    that script, runs of spaces count as one in the length too, and combining accents are composed.
    """
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415

    said = _plain(answer)
    best = max(
        Levenshtein.normalized_similarity(said, _plain(reference)) for reference in item.references
    )
    return float(best) if best >= _THRESHOLD else 0.0


def rouge_l(item: Item, answer: str) -> float:
    """F1 over the longest common subsequence of words, for the best reference; 0 to 1.

    Words are runs of letters and digits, with their accents, in lower case, unstemmed. Lin, ROUGE:
    A Package for Automatic Evaluation of Summaries, 2004, section 3.1, with beta = 1. ROUGE-1.5.5
    and rouge-score only know the letters a to z: there "café" is "caf", and Chinese has no words.
    They give 0 for texts without words; here equal texts give 1.
    """
    return max(_rouge(answer, reference) for reference in item.references)


def _rouge(answer: str, reference: str) -> float:
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415

    said, right = _words(answer), _words(reference)
    if not said or not right:
        return float(composed(answer).split() == composed(reference).split())
    common: int = LCSseq.similarity(said, right)
    return 2 * common / (len(said) + len(right))


def _words(text: str) -> list[str]:
    return _WORD.findall(composed(text.lower()))


def _plain(text: str) -> str:
    return " ".join(composed(text.lower()).split())
