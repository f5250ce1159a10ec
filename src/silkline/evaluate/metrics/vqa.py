"""VQA accuracy: agreement with the answers of several people.

Antol et al., VQA: Visual Question Answering, ICCV 2015; normalisation as described at
https://visualqa.org/evaluation.html.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import product

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import composed

MIN_REFERENCES = 4
"""The metric leaves out one person at a time and compares with three others who agree."""

_AGREEING = 3
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")

_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll
you're you've i'm i've
"""


def _without_apostrophes(word: str) -> set[str]:
    """The spellings of a word with one or more apostrophes missing."""
    first, *rest = word.split("'")
    marks = product(("'", ""), repeat=len(rest))
    spelled = {
        first + "".join(mark + part for mark, part in zip(combination, rest, strict=True))
        for combination in marks
    }
    return spelled - {word}


_SPELLED = {
    wrong: right for right in _CONTRACTIONS.split() for wrong in _without_apostrophes(right)
}


def normalised(text: str) -> str:
    """Normalises an answer for comparison.

    Removes punctuation, or replaces it by a space between letters; turns number words into digits;
    removes articles; and restores missing apostrophes in contractions. The authors' script knows
    fewer spellings without apostrophes: it knows neither "im" nor spellings missing two. If nothing
    would be left, it keeps the articles, or else the text itself: otherwise an empty answer would
    equal "a", and "?" would equal "!".
    """
    text = " ".join(composed(text.lower()).split())
    bare = text
    joins = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _MARKS:
        loose = joins or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if loose else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", bare).split()]
    content = [_SPELLED.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(content or words) or text


def vqa_accuracy(item: Item, answer: str) -> float:
    """Mean over the people of min(1, number of others who gave the same answer / 3); 0 to 1.

    With ten people, an answer that four of them gave scores 1. The item needs at least
    `MIN_REFERENCES` references. Both sides are always normalised. The authors' script normalises
    nothing if all people agree, so there "Yes." is wrong if all said "yes"; otherwise it normalises
    only the punctuation of the people's answers.
    """
    people = Counter(map(normalised, item.references))
    same = people[normalised(answer)]
    others = len(item.references) - same
    left_out = same * min(1.0, (same - 1) / _AGREEING) if same else 0.0
    return (left_out + others * min(1.0, same / _AGREEING)) / len(item.references)
