"""Multiple choice: finds the choice that an answer names, by letter or by text."""

from __future__ import annotations

import operator
import re
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import folded
from silkline.evaluate.metrics.words import is_same, words_of

_OPEN, _CLOSE = r"[(\[{\"'“\u2018「【]", r"[)\]}\"'”\u2019」】]"
_BLANK = r"[^\S\n]*+"
_FINAL = re.compile(
    r"(?<!/)\banswers?(?:\s+(?:to|for)\b[^.\n:]{0,60}?)?"
    r"(?:\s+(?:is|are|was|be|would be|should be|must be)\b\s*+:?|\"?\s*+[:=>]|\s-\s)"
    r"|(?:答案|正解|答え|정답|답)(?:应该|應該|应|應)?[是为為は은는]?\s*+:?"
    r"|\\boxed\s*+(?=\{)",
    re.IGNORECASE,
)
"""Cues that a choice must follow; if none does, the answer names no choice."""

_CHOOSING = re.compile(
    r"(?<!not )(?<!n't )\b(?:choose|chose|pick|picked|select|selected|go with)\b"
    r"|\b(?:option|choice)(?:\s+(?:is|would be)\b\s*+:?|\"?\s*+[:=])"
    r"|(?<!不)[选選](?![项項])[择擇]?[:是]?",
    re.IGNORECASE,
)
_MENTION = re.compile(r"\b(?:answer|option|choice)\b|[选選][项項][是为為:]*+|옵션", re.IGNORECASE)
_ASSERTED = re.compile(
    r"(?:^|[.!?:,;]\s|\b(?:option|choice|answer|so|that|therefore)\s)"
    rf"{_BLANK}{_OPEN}?(?P<letter>[A-Z]){_CLOSE}?\s+(?:is|seems|must be)\s+(?:the\s+)?"
    r"(?:correct|right|best|true|answer)\b",
    re.IGNORECASE | re.MULTILINE,
)
_LETTER = re.compile(
    rf"\s*+(?:(?:the\s+)?(?:option|choice|letter|选项|選項)\s*+:?\s*+)?{_OPEN}*+\s*+"
    rf"(?P<letter>[A-Z])(?P<close>(?:\s*+{_CLOSE})*+)"
    r"(?!(?!です|だ|입니다|이다|项|項|选项|選項|是?正[确確])\w|['\u2019]\w)",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"\s+(?!(?:because|since|as|is|and|or|for|due)\b)\w", re.IGNORECASE)
_AND_ANOTHER = re.compile(
    r"\s*+(?:[,/&+、]|\bor\b|\band\b|或者?|和|与|及)\s*+(?:(?:option|choice)\s+)?"
    rf"{_OPEN}*+(?P<letter>[A-Z])(?P<close>{_CLOSE}*+)(?!\w)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\s+(?:(?:is|was|can|could|does|would)\s*+(?:not|n't)\b|cannot\b"
    r"|(?:is|was)\s+(?:wrong|incorrect|false|rejected|excluded|eliminated))"
    r"|\s*+(?:不对|不對|错|錯|不正确|不正確)",
    re.IGNORECASE,
)
_MARKED = (
    re.compile(
        rf"^{_BLANK}(?:[-*•#>]++\s)?{_BLANK}{_OPEN}*+([A-Za-z])(?:{_CLOSE}|[.:,、。!])*+{_BLANK}$",
        re.MULTILINE,
    ),
    re.compile(
        rf"^{_BLANK}([A-Za-z])(?:\.(?![A-Za-z][.\s])(?:(?<=[A-Z]\.)|(?![a-z]))|[):、]|\s-\s)",
        re.MULTILINE,
    ),
    re.compile(r"(?<![\w/])[(\[【]\s*+([A-Za-z])\s*+[)\]】](?![A-Za-z0-9_])"),
    re.compile(r"(?<!\b[A-Za-z])[,;:]\s+([A-Z])[.!。]*+\s*+\Z"),
    re.compile(r"\A\s*+([A-Za-z])(?=,?\s+because\b)"),
    re.compile(r"(?<!\w)([A-Z])(?:项|項|选项|選項)?是?正[确確]"),
)
"""A letter alone on its line, before a text, in brackets, at the end, or before a reason."""

_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__|[*_`$])[^\w\s]{0,3}+([A-Za-z])[^\w\s*_`$]{0,3}+\1(?!\w)")
_REASONING = re.compile(r"\A.*</think\s*+>", re.DOTALL | re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*+\{([^{}]*+)\}")
_END = re.compile(r"[\n}<]|[.!?。](?=\s|\Z)")
_AROUND = " \t(){}[]\"'“”"
_SLACK = 20
"""Extra characters to read after a cue, beyond the length of the longest choice."""


def _without_case(text: str) -> str:
    return folded(text).strip().removesuffix(".").casefold() or text.strip()


_FORMS: Sequence[tuple[Callable[[str], Any], Callable[[Any, Any], bool]]] = (
    (str.strip, operator.eq),
    (_without_case, operator.eq),
    (words_of, is_same),
)
"""Normal forms in which an answer is compared with a choice's text, the strictest first."""


class _Choices:
    """The choices of an item, for lookup by text and by letter."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._forms = [[form(text) for text in texts] for form, _ in _FORMS]
        self._count = len(texts)
        self.longest = max(map(len, texts), default=0)

    def by_text(self, said: str) -> int | None:
        """The choice with this text, in the strictest form that matches; None if ambiguous."""
        for (form, equals), texts in zip(_FORMS, self._forms, strict=True):
            answer = form(said)
            if fits := [index for index, text in enumerate(texts) if equals(answer, text)]:
                return fits[0] if len(fits) == 1 else None
        return None

    def by_letter(self, letter: str) -> int | None:
        """The choice with this letter; None if there are fewer choices."""
        index = string.ascii_uppercase.index(letter.upper())
        return index if index < self._count else None


def choice_accuracy(item: Item, answer: str) -> float:
    """1 if the answer names the correct choice by its letter or its text, else 0."""
    return float(chosen(item.choices, answer) == item.choices.index(item.references[0]))


def chosen(choices: Sequence[str], answer: str) -> int | None:
    r"""The index of the choice that an answer names; None if it names none, or several.

    Ignores everything up to `</think>`. The first of these rules that applies decides:

    1. The whole answer is the text of a choice. Text takes precedence over letters, so that a
       choice whose text is "A" can be named.
    2. The last statement of a choice, by its letter or its text: "the answer is", "I choose",
       "B is correct", `\boxed{B}`, "答案是". "A" and "I" before another word are not letters.
    3. The only letter that is alone on its line, in brackets or bold, before a choice's text, after
       "option", or at the end after a comma or colon.
    4. The only choice whose text is a line of the answer.
    """
    offered = _Choices(choices)
    answer = _REASONING.sub("", answer)
    if (named := offered.by_text(answer)) is not None:
        return named
    plain = _plain(answer)
    for choice, is_final in _statements(offered, plain):
        if choice is not None or is_final:
            return choice
    letters = {offered.by_letter(letter) for letter in _marked(plain)} - {None}
    named_by = letters or {offered.by_text(line) for line in plain.splitlines()} - {None}
    return named_by.pop() if len(named_by) == 1 else None


def _plain(answer: str) -> str:
    """Removes the emphasis of LaTeX and Markdown; an emphasised letter gets brackets."""
    plain = _LATEX_TEXT.sub(r"\1", folded(answer))
    return _EMPHASIS.sub(r"(\2)", plain).replace("**", "").replace("`", "")


def _statements(offered: _Choices, text: str) -> Iterator[tuple[int | None, bool]]:
    """Yields the choice of each statement, the last first, and whether it counts even if None."""
    found = [(cue.end(), "", True) for cue in _FINAL.finditer(text)]
    found += [(cue.end(), "", False) for cue in _CHOOSING.finditer(text)]
    found += [(claim.end(), claim["letter"], False) for claim in _ASSERTED.finditer(text)]
    for end, letter, is_final in sorted(found, reverse=True):
        yield offered.by_letter(letter) if letter else _named_at(offered, text, end), is_final


def _named_at(offered: _Choices, text: str, start: int) -> int | None:
    """The choice whose text or letter begins at a position."""
    ahead = text[start : start + offered.longest + _SLACK].lstrip()
    span = ahead[: match.start()] if (match := _END.search(ahead)) else ahead
    if (named := offered.by_text(span.strip(_AROUND))) is not None:
        return named
    found = _LETTER.match(text, start)
    if found is None or _is_word(text, found):
        return None
    letter = found["letter"]
    other = _AND_ANOTHER.match(text, found.end())
    if other and other["letter"].isupper() == letter.isupper() and not _is_word(text, other):
        return None if offered.by_letter(other["letter"]) is not None else offered.by_letter(letter)
    return offered.by_letter(letter)


def _is_word(text: str, found: re.Match[str]) -> bool:
    """Whether a letter is the article "a" or the pronoun "I"."""
    alone = found["letter"] in "aAiI" and not found["close"]
    return alone and _CONTINUES.match(text, found.end()) is not None


def _marked(text: str) -> Iterator[str]:
    """Yields the letters that are marked as a choice, except those that the answer denies."""
    for cue in _MENTION.finditer(text):
        found = _LETTER.match(text, cue.end())
        if found and not _is_word(text, found) and not _DENIED.match(text, found.end()):
            yield found["letter"]
            if other := _AND_ANOTHER.match(text, found.end()):
                yield other["letter"]
    for pattern in _MARKED:
        for found in pattern.finditer(text):
            if not _DENIED.match(text, found.end()):
                yield found[1]
