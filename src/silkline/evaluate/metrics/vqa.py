"""The accuracy of visual question answering, by several people's answers.

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
"""The measure asks whether three others said the same, each person left out in turn."""

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
    """The word with one or more of its apostrophes left out."""
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
    """An answer in the form in which answers are compared.

    Punctuation goes, or becomes a space where it stands between letters; number words become
    digits, articles go, and contractions get their apostrophes. The authors' script knows fewer
    spellings without them: neither "im" nor such as lack two. Where nothing would be left, articles
    stay, or the text itself: else an empty answer would equal "a", and "?" equal "!".
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
    """Mean over the people of min(1, how many of the others said the same / 3); 0 to 1.

    With ten people, an answer that four of them gave is fully right. It needs at least
    `LEAST_REFERENCES`. Both sides are always normalised. The authors' script normalises nothing
    where all people said the same, so "Yes." is wrong there where all said "yes", and of people's
    answers only the punctuation elsewhere.
    """
    people = Counter(map(normalised, item.references))
    same = people[normalised(answer)]
    others = len(item.references) - same
    left_out = same * min(1.0, (same - 1) / _AGREEING) if same else 0.0
    return (left_out + others * min(1.0, same / _AGREEING)) / len(item.references)
