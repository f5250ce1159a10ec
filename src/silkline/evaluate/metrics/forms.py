"""One form for characters that are written in several ways, and what counts as punctuation."""

from __future__ import annotations

import re
import string
import unicodedata

_FULL_WIDTH = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*range(0xFF01, 0xFF5F), *range(0xFFE0, 0xFFE7), 0x3000)
}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-")
_SEPARATORS = {ord("٫"): ".", ord("٬"): ",", ord("⁄"): "/"}
_FORMS = _FULL_WIDTH | _DASHES | _SEPARATORS
_DIGIT = re.compile(r"[^\D0-9]")

PUNCTUATION = string.punctuation + "".join(
    char
    for char in map(chr, range(0x80, 0x10000))
    if unicodedata.category(char).startswith("P")
)
"""ASCII's punctuation and symbols, and the punctuation (Unicode's category P) of other scripts."""


def composed(text: str) -> str:
    """The text in Unicode's form NFC: an accent apart from its letter is the same as "é"."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text composed, with ASCII for full-width characters, dashes and decimal digits."""
    plain = composed(text).translate(_FORMS)
    return _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), plain)
