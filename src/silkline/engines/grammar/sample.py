"""Draws a text that a grammar allows; for the fake engine."""

from __future__ import annotations

from collections.abc import Callable

from silkline.engines.grammar import charsets
from silkline.engines.grammar.check import length, shortest
from silkline.engines.grammar.nodes import (
    Chars,
    Choice,
    Grammar,
    Literal,
    Node,
    Ranges,
    Ref,
    Repeat,
    Series,
)

_MAX_RULES = 32
"""Rules after which a text takes the shortest way to its end."""

_MAX_MORE = 5
"""Repetitions beyond the minimum."""

_LETTERS = ((ord("a"), ord("z")),)


def sample(grammar: Grammar, draw: Callable[[int], int], *, max_chars: int) -> str:
    """Draws a text.

    Args:
        grammar: A grammar that was checked.
        draw: Draws an integer from 0 to below its argument.
        max_chars: A text that is longer is incomplete: it ends after at least this many characters.
    """
    sizes = shortest(grammar)
    found: list[str] = []
    pending: list[Node] = [Ref(grammar.root)]
    rules = chars = 0
    while pending and chars < max_chars:
        node = pending.pop()
        short = rules > _MAX_RULES
        match node:
            case Literal(text):
                found.append(text)
                chars += len(text)
            case Chars(ranges):
                found.append(_character(ranges, draw))
                chars += 1
            case Ref(name):
                rules += 1
                pending.append(grammar.rules[name])
            case Series(items):
                pending.extend(reversed(items))
            case Choice(items):
                if short:
                    pending.append(min(items, key=lambda item: length(item, sizes)))
                else:
                    plain = next((item for item in items if isinstance(item, Chars)), None)
                    pending.append(plain or items[draw(len(items))])
            case Repeat(item, low, high):
                more = _MAX_MORE if high is None else min(_MAX_MORE, high - low)
                count = low if short else low + draw(more + 1)
                pending.extend([item] * count)
    return "".join(found)


def _character(ranges: Ranges, draw: Callable[[int], int]) -> str:
    """Draws a character; a lower-case letter if there is one, else one of ASCII."""
    ascii_only = ((0x20, 0x7E),)
    for wanted in (_LETTERS, ascii_only, charsets.ANY):
        outside = charsets.complement(wanted)
        if found := charsets.without(ranges, outside):
            low, high = found[draw(len(found))]
            return chr(low + draw(high - low + 1))
    raise ValueError("a set without characters")
