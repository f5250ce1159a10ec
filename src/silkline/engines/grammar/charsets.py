"""Sets of characters, and the classes of regular expressions.

Where JavaScript, which JSON Schema refers to, and Python disagree about a class, it holds only the
characters that both accept.
"""

from __future__ import annotations

from collections.abc import Iterable

from silkline.engines.grammar.nodes import Chars, Ranges

_LAST = 0x10FFFF
_SURROGATES = ((0xD800, 0xDFFF),)
_OUTSIDE_ASCII = ((0x80, _LAST),)


def of(text: str) -> Ranges:
    """Returns the set of a text's characters."""
    return union((ord(char), ord(char)) for char in text)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorts ranges and joins those that touch."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def complement(ranges: Ranges) -> Ranges:
    """Returns all characters that are not in a set."""
    found, start = [], 0
    for low, high in union((*ranges, *_SURROGATES)):
        if start < low:
            found.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)


def without(ranges: Ranges, other: Ranges) -> Ranges:
    """Returns the characters of a set that are not in another."""
    return complement((*complement(ranges), *other))


ANY = complement(())
DIGITS = of("0123456789")
WORD = union(((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)))
SPACE = of(" \t\n\r\f\v")
_ANY_SPACE = union(
    (
        *SPACE,
        *of("\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
        (0x2000, 0x200A),
    )
)

CLASSES: dict[str, tuple[Ranges, Ranges]] = {
    "d": (DIGITS, (*DIGITS, *_OUTSIDE_ASCII)),
    "w": (WORD, (*WORD, *_OUTSIDE_ASCII)),
    "s": (SPACE, _ANY_SPACE),
}
"""What is certainly in a class, and what may be."""

DOT = complement(of("\n\r\u2028\u2029"))

DIGIT = Chars(DIGITS)


def is_character(code: int) -> bool:
    """Whether a number is the code point of a character; half a surrogate pair is none."""
    return any(low <= code <= high for low, high in ANY)


def class_of(letter: str) -> tuple[Ranges, Ranges]:
    r"""Returns what is certainly in `\d`, `\W` and the like, and what may be."""
    certain, possible = CLASSES[letter.lower()]
    if letter.islower():
        return certain, union(possible)
    return complement(possible), complement(certain)
