"""Unicode normalisation of answers, and the definition of punctuation."""

from __future__ import annotations

import re
import string
import unicodedata

_FULL_WIDTH: dict[int, str | None] = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*range(0xFF01, 0xFF5F), *range(0xFFE0, 0xFFE7), 0x3000)
}
_DASHES: dict[int, str | None] = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013—―\u2212﹣"), "-")
_SEPARATORS: dict[int, str | None] = {ord("\u066b"): ".", ord("٬"): ",", ord("\u2044"): "/"}
_INVISIBLE: dict[int, str | None] = dict.fromkeys(
    (
        0xAD,
        0x200B,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2060, 0x206A),
        0xFE0E,
        0xFE0F,
        0xFEFF,
    )
)
_FORMS = _FULL_WIDTH | _DASHES | _SEPARATORS | _INVISIBLE
_DIGIT = re.compile(r"[^\D0-9]")

_BLOCKS = (
    (0x80, 0x3400),
    (0xA000, 0xAC00),
    (0xFB00, 0x12000),
    (0x16A00, 0x17000),
    (0x1BC00, 0x1F000),
)
"""Unicode ranges with marks and punctuation; skips ideographs, Hangul and hieroglyphs."""


def _others(category: str) -> str:
    """The non-ASCII characters of a Unicode category."""
    characters = (chr(code) for block in _BLOCKS for code in range(*block))
    return "".join(char for char in characters if unicodedata.category(char).startswith(category))


PUNCTUATION = string.punctuation + _others("P")
"""ASCII's punctuation and symbols, and the punctuation of other scripts."""

LETTER = rf"(?:[^\W_]|[{_others('M')}])"
"""A pattern for one letter, digit or combining mark, which Hindi for example has inside words."""


def composed(text: str) -> str:
    """The text in Unicode form NFC: a letter and a combining accent become one character."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text in NFC, with ASCII for full-width characters, dashes and decimal digits.

    Removes invisible characters: zero-width breaks, direction marks, variation selectors.
    """
    plain = composed(text).translate(_FORMS)
    return _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), plain)
