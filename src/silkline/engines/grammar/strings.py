"""Strings of JSON, as grammars."""

from __future__ import annotations

from dataclasses import replace

from silkline.engines.grammar import charsets
from silkline.engines.grammar.nodes import (
    Chars,
    Choice,
    Literal,
    Node,
    Ranges,
    Repeat,
    Series,
    choice,
    series,
)
from silkline.engines.grammar.regex import anywhere, whole

_QUOTE = Literal('"')
_CONTROLS = ((0x00, 0x1F),)
_PLAIN = charsets.complement(charsets.union((*_CONTROLS, *charsets.of('"\\'))))
_SHORT = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}

_ESCAPES = (
    r'\\["\\/bfnrt]'
    r"|\\u[0-9a-cefA-CEF][0-9a-fA-F]{3}"
    r"|\\u[dD][0-7][0-9a-fA-F]{2}"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
CHARACTER = choice(Chars(_PLAIN), whole(_ESCAPES))
"""A character in a string: itself, or an escape; surrogates only in pairs.

One flat choice, because xgrammar makes a rule of a choice in a choice, and a character that holds a
rule costs it 20 times as much in each step (with 140,000 tokens, 0.2 s instead of 0.01 s).
"""

_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
)
_DATE = rf"[12]\d{{3}}-{_DAY}"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[a-z0-9](?:[a-z0-9]{0,30}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,3}}\.[a-z]{{2,12}}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}T{_TIME}",
    "duration": r"P(?:\d{1,4}Y(?:\d{1,2}M(?:\d{1,2}D)?)?|\d{1,3}[DW]|T\d{1,4}[HMS])",
    "email": rf"[A-Za-z0-9_+-]{{1,20}}(?:\.[A-Za-z0-9_+-]{{1,20}}){{0,2}}@{_HOST}",
    "hostname": _HOST,
    "ipv4": rf"{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}",
    "ipv6": r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "uri": rf"https?://{_HOST}(?:/[A-Za-z0-9._~-]{{1,64}}){{0,8}}/?(?:\?[A-Za-z0-9._~=&-]{{1,99}})?",
}
"""The formats that are enforced, as regular expressions; each allows only what is valid."""


def string(low: int, high: int | None) -> Node:
    """Returns the strings with `low` to `high` characters; a `high` of None means any number.

    Those of a limited length have no escapes: for xgrammar, repeating one set of characters is a
    hundred times cheaper than repeating a choice.
    """
    limited = low > 0 or high is not None
    return series(_QUOTE, Repeat(Chars(_PLAIN) if limited else CHARACTER, low, high), _QUOTE)


def matching(pattern: str) -> Node:
    """Returns the strings in which a pattern matches somewhere.

    Raises:
        Unsupported: The pattern is invalid, or not regular.
    """
    return series(_QUOTE, _encoded(anywhere(pattern)), _QUOTE)


def formatted(name: str) -> Node:
    """Returns the strings of a format in `FORMATS`."""
    return series(_QUOTE, _encoded(whole(FORMATS[name])), _QUOTE)


def _encoded(node: Node) -> Node:
    """Returns what a node allows as it stands inside a string of JSON."""
    match node:
        case Literal(text):
            return Literal("".join(map(_escape, text)))
        case Chars(ranges):
            return _encoded_set(ranges)
        case Series(items):
            return series(*map(_encoded, items))
        case Choice(items):
            return choice(*map(_encoded, items))
        case Repeat(item, _, _):
            return replace(node, item=_encoded(item))
    return node


def _encoded_set(ranges: Ranges) -> Node:
    if ranges == charsets.ANY:
        return CHARACTER
    plain = charsets.without(ranges, charsets.complement(_PLAIN))
    special = [
        chr(code) for low, high in charsets.without(ranges, _PLAIN) for code in range(low, high + 1)
    ]
    items: list[Node] = [Chars(plain)] if plain else []
    items.extend(Literal(_escape(char)) for char in special)
    return choice(*items)


def _escape(char: str) -> str:
    if char in _SHORT:
        return "\\" + _SHORT[char]
    return f"\\u{ord(char):04x}" if char < " " else char
