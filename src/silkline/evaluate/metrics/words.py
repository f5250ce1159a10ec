"""Splits answers into words and numbers, for exact_match, token_f1 and choice_accuracy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from silkline.evaluate.metrics.forms import PUNCTUATION, folded
from silkline.evaluate.metrics.numerals import spelled

_MARK = f"[{re.escape(PUNCTUATION)}]"
_CURRENCY = "$¢£¤¥฿" + "".join(map(chr, range(0x20A0, 0x20D0)))
_SIGNS = f"%‰{_CURRENCY}"
_UNIT = "unit "
"""Prefix of a percent or currency sign in the list of words; no other word has a space."""

_ARTICLES = (["a"], ["an"], ["the"])
_VULGAR = re.compile(r"(?P<whole>\d?)(?P<part>[¼-¾⅐-⅞↉])")
_SPACING: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"(?<=\d)(?<!\d{4})['\u2019_\u00a0\u2009\u202f](?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<!\de)(?<=[\w)])\+(?=[\w(])|</|[<>=]"), r" \g<0> "),
    (re.compile(r"(?<![\w/.,])(\d{1,9}) (?=\d{1,9}/\d{1,9}(?![\w/]))"), r"\1+"),
    (re.compile(r"(?<=\d) ([-/:]) (?=\d)"), r"\1"),
    (re.compile(r"(?:\A|(?<=[=<>(:]))(\s*+)-\s++(?=\.?\d)"), r"\1-"),
    (re.compile(r"(?<=\d)\s*+(?:percent|per cent|pct)\b"), "%"),
    (re.compile(r"(?<=\d)\s*+(?:dollars?|usd)\b|\bus\$"), "$"),
    (re.compile(r"(?<=\d)\s*+(?:euros?|eur)\b"), "€"),
    (re.compile(rf"([{_CURRENCY}])\s++(?=[-+]?\.?\d)"), r"\1"),
    (re.compile(rf"(?<=\d)\s++(?=[{_SIGNS}](?!\s*+\d))"), ""),
)
"""Substitutions that join the parts of a number and separate the signs `+ < > =`."""

_APART = frozenset({"<", ">", "=", "</", "+"})
_QUANTITY = re.compile(
    rf"{_MARK}*?(?P<sign>[-+]?)(?:(?P<unit>[{_CURRENCY}])(?P<inner>[-+]?))?"
    rf"(?P<digits>\.?\d++(?:{_MARK}++\d++)*+)(?:e(?P<exponent>[-+]?\d{{1,9}}+)(?!\w))?"
    r"(?P<rest>\D*+)"
)
_BRACKETED = re.compile(r"[\[(][^\[\]()]*+[\])]")
_BETWEEN_ITEMS = re.compile(r"[^\w\s.,;-]{0,3}+[,;]++[^\w\s.-]*+")
_LOST = re.compile(rf"(?<=\d)({_MARK}++)(?=\d)|(?<=\w)([-+#]++)(?={_MARK}*+\Z)|{_MARK}")


def words_of(text: str) -> list[str]:
    """Splits an answer into words, without case, punctuation and English articles.

    The normalisation of SQuAD (Rajpurkar et al., EMNLP 2016, 6.1), except that it keeps more:
    numbers are normalised by value, marks between digits stay, and so do `+ < > =` and a sign at
    the end of a word ("A-", "C#"). Removes punctuation of any script. If nothing would be left, it
    keeps the articles; if there are none either, the text itself.
    """
    chunks = _spaced(folded(text.casefold())).split()
    found = [words for chunk in chunks if (words := list(_words(chunk)))]
    content = [word for words in found if words not in _ARTICLES for word in words]
    return content or [word for words in found for word in words] or chunks


def is_same(answer: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two answers have the same words.

    A percent or currency sign counts only if both have one: "$25" equals "25", but not "€25".
    """
    if answer == other:
        return True
    bare, others_bare = _without_units(answer), _without_units(other)
    one_sided = len(bare) == len(answer) or len(others_bare) == len(other)
    return one_sided and bare == others_bare


def _without_units(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith(_UNIT)]


def _spaced(text: str) -> str:
    text = _VULGAR.sub(
        lambda found: (
            (f"{found['whole']} " if found["whole"] else "")
            + unicodedata.normalize("NFKC", found["part"]).replace("\u2044", "/")
        ),
        text,
    )
    text = _BRACKETED.sub(lambda found: found[0].replace(",", ", "), text)
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)
    return text


def _words(chunk: str) -> Iterator[str]:
    """Yields the words of a text without spaces: one word, or a number and its unit."""
    found = _QUANTITY.fullmatch(chunk)
    if found is None:
        if word := _bare(chunk):
            yield word
        return
    sign = "-" if "-" in (found["sign"], found["inner"]) else ""
    yield from _numbers(sign, found["digits"], found["exponent"] or "")
    rest = found["rest"]
    unit = found["unit"] or (rest[:1] if rest[:1] in _SIGNS else "")
    if unit:
        yield _UNIT + unit
    if name := _bare(f"0{rest.removeprefix(unit)}")[1:]:
        yield name


def _numbers(sign: str, digits: str, exponent: str) -> Iterator[str]:
    """Yields the number, the numbers of a list without spaces, or the digits as written."""
    if value := spelled(sign, digits, exponent):
        yield value
        return
    *others, last = _BETWEEN_ITEMS.split(sign + digits)
    for part, power in (*((other, "") for other in others), (last, exponent)):
        bare = part.removeprefix("-")
        written = part + (f"e{power}" if power else "")
        yield spelled(part[: len(part) - len(bare)], bare, power) or written


def _bare(chunk: str) -> str:
    """Removes punctuation, except marks between digits and a sign that ends a word."""
    if chunk in _APART:
        return chunk
    return _LOST.sub(lambda mark: mark[1] or mark[2] or "", chunk)
