"""Each text metric against its published formula, written down as plainly as it goes."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.evaluate.metrics import overlap, text, vqa
from silkline.evaluate.metrics.cider import cider
from tests.evaluate.items import item

WORDS = st.sampled_from(
    ["a", "The", "red", "red.", "Mug", "mugs", "don't", "dont", "two", "2", "3.5", "1,000", "none",
     "&", "t-shirt", "Café", "größe", "猫", "...", "\t", "x_y"]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
SETS = st.lists(TEXTS, min_size=1, max_size=4)


def levenshtein(one: str, other: str) -> int:
    """By its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        change = one[i - 1] != other[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + change)

    return distance(len(one), len(other))


def lcs(one: list[str], other: list[str]) -> int:
    @cache
    def length(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    return length(len(one), len(other))


@given(TEXTS, SETS)
def test_anls(said: str, references: list[str]) -> None:
    """Biten et al. 2019, equation 1, by the challenge's script where they differ: at one half."""
    pytest.importorskip("rapidfuzz")
    best = 0.0
    for reference in references:
        one, other = " ".join(said.lower().split()), " ".join(reference.lower().split())
        longest = max(len(one), len(other))
        distance = levenshtein(one, other) / longest if longest else 0.0
        best = max(best, 1 - distance if distance <= 0.5 else 0.0)
    assert overlap.anls(item(*references), said) == pytest.approx(best)


@given(TEXTS, SETS)
def test_token_f1(said: str, references: list[str]) -> None:
    """Rajpurkar et al. 2016, 6.1: precision and recall over bags of words, the best reference.

    Not as there: numbers keep their point, and a text that has nothing else is its articles, or
    what it is.
    """

    def bare(word: str) -> str:
        numbers = {"3.5": "3.5", "1,000": "1000"}
        return numbers.get(word) or "".join(sign for sign in word if sign not in string.punctuation)

    def words(of: str) -> list[str]:
        found = [bare(word) for word in of.lower().split() if bare(word)]
        content = [word for word in found if word not in {"a", "an", "the"}]
        return content or found or of.lower().split()

    best = 0.0
    for reference in references:
        ours, theirs = words(said), words(reference)
        common = sum(min(ours.count(word), theirs.count(word)) for word in set(ours))
        if common:
            precision, recall = common / len(ours), common / len(theirs)
            best = max(best, 2 * precision * recall / (precision + recall))
        elif not ours and not theirs:
            best = 1.0
    assert text.token_f1(item(*references), said) == pytest.approx(best)


@given(TEXTS, SETS)
def test_rouge_l(said: str, references: list[str]) -> None:
    """Lin 2004, 3.1, with beta = 1; words of any script, and texts without words by themselves."""
    pytest.importorskip("rapidfuzz")
    best = 0.0
    for reference in references:
        ours, theirs = (re.sub(r"[\W_]", " ", one.lower()).split() for one in (said, reference))
        common = lcs(ours, theirs)
        if common:
            recall, precision = common / len(theirs), common / len(ours)
            best = max(best, 2 * recall * precision / (recall + precision))
        elif not ours and not theirs and said.split() == reference.split():
            best = 1.0
    assert overlap.rouge_l(item(*references), said) == pytest.approx(best)


@pytest.mark.parametrize(
    ("said", "right", "value"),
    [("猫", "狗", 0.0), ("猫", "猫", 1.0), ("Größe", "GRÖSSE", 0.0),
     ("café noir", "cafe noir", 0.5), ("!", "?", 0.0), ("...", "...", 1.0),
     ("", "", 1.0), ("", "?", 0.0), ("cafe\u0301 noir", "caf\u00e9 noir", 1.0),
     ("हिन्दी भाषा", "हिन्दी", 2 / 3)],
)  # fmt: skip
def test_rouge_l_beyond_ascii(said: str, right: str, value: float) -> None:
    pytest.importorskip("rapidfuzz")
    assert overlap.rouge_l(item(right), said) == pytest.approx(value)


@pytest.mark.parametrize(
    ("said", "right", "value"),
    [("cafe\u0301", "caf\u00e9", 1.0), ("", "", 1.0), (" ", "", 1.0), ("", "?", 0.0),
     ("!", "?", 0.0),
     ("-", "+", 0.0), ("A", "", 0.0), ("a", "A", 1.0)],
)  # fmt: skip
def test_anls_of_short_texts(said: str, right: str, value: float) -> None:
    pytest.importorskip("rapidfuzz")
    assert overlap.anls(item(right), said) == value


@pytest.mark.parametrize(
    ("said", "right", "value"),
    [("", "a", 0.0), ("a", "a", 1.0), ("A.", "a", 1.0), ("?", "!", 0.0), ("-", "+", 0.0),
     ("", "?", 0.0),
     ("the", "a", 0.0), ("1.5", "15", 0.0), ("cafe\u0301", "caf\u00e9", 1.0), ("-3", "3", 1.0)],
)  # fmt: skip
def test_vqa_accuracy_of_short_texts(said: str, right: str, value: float) -> None:
    assert vqa.vqa_accuracy(item(*[right] * 10), said) == value


@given(TEXTS, st.lists(TEXTS, min_size=4, max_size=10))
def test_vqa_accuracy(said: str, people: list[str]) -> None:
    """Antol et al. 2015, section 5: min(1, others who said so / 3), each person left out once."""
    answer, normalised = vqa.normalised(said), [vqa.normalised(one) for one in people]
    left_out = (normalised[:place] + normalised[place + 1 :] for place in range(len(people)))
    values = [min(1.0, others.count(answer) / 3) for others in left_out]
    found = vqa.vqa_accuracy(item(*people), said)
    assert found == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(
    ("said", "normalised"),
    [("Ten", "10"), ("twenty one", "twenty 1"), ("hed", "he'd"), ("somebodyd", "somebody'd"),
     ("ow's'at", "'ow's'at"), ("he'd", "he'd"), ("3.", "3"), ("3.14.", "3.14"), (".5", ".5"),
     ("1,000 , 2", "1000 2"), ("a the an", "a the an"), ("", ""), ("猫。", "猫。"), ("x/y", "x y")],
)  # fmt: skip
def test_vqa_normalisation_as_its_site_describes_it(said: str, normalised: str) -> None:
    assert vqa.normalised(said) == normalised


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("cafe\u0301 noir", "caf\u00e9 noir"),
        ("हिन्दी", "हिन्दी"),
        ("3.5 m", "3.5 m"),
        ("It's", "it's"),
    ],
)
def test_cider_keeps_words_and_numbers_whole(said: str, right: str) -> None:
    items = [item(right, name="1"), item("3 5 caf\u00e9s हिन it 5", name="2")]
    whole = cider(items, [right, ""])[0]
    assert cider(items, [said, ""])[0] == pytest.approx(whole)
    assert whole == pytest.approx(10 * len(right.split()) / 4)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(TEXTS, SETS), min_size=1, max_size=4))
def test_cider_d(cases: list[tuple[str, list[str]]]) -> None:
    """Vedantam et al. 2015, equations 1 to 3, and CIDEr-D's clipping and penalty (section 7)."""
    items = [item(*references, name=str(place)) for place, (_, references) in enumerate(cases)]

    def words(of: str) -> list[str]:
        return re.findall(r"3\.5|1,000|[^\W_]+(?:'[^\W_]+)*", of.lower())

    def grams(of: str, n: int) -> Counter[tuple[str, ...]]:
        found = words(of)
        return Counter(tuple(found[place : place + n]) for place in range(len(found) - n + 1))

    def weight(gram: tuple[str, ...], n: int) -> float:
        having = sum(any(gram in grams(one, n) for one in refs) for _, refs in cases)
        return math.log(len(cases) / max(1, having))

    for place, (said, references) in enumerate(cases):
        total = 0.0
        for n in range(1, 5):
            ours = {gram: many * weight(gram, n) for gram, many in grams(said, n).items()}
            for reference in references:
                right = {gram: many * weight(gram, n) for gram, many in grams(reference, n).items()}
                product = sum(
                    min(ours[gram], right[gram]) * right[gram]
                    for gram in ours.keys() & right.keys()
                )
                norms = math.hypot(*ours.values()) * math.hypot(*right.values())
                gap = len(words(said)) - len(words(reference))
                if norms:
                    total += product / norms * math.exp(-(gap**2) / 72) / len(references) / 4
        found = cider(items, [answer for answer, _ in cases])[place]
        assert found == pytest.approx(10 * total, abs=1e-9)
