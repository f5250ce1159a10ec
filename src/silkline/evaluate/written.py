"""Parses lists and objects that are written as text: JSON, or as Python and numpy print them."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
import warnings

import msgspec

from silkline.errors import UNDECODABLE

_MAX_CHARS = 100_000
_OPENING = frozenset("[{(")
_LAYOUT = frozenset({tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER})
_VALUES = frozenset({tokenize.STRING, tokenize.NUMBER, tokenize.NAME})
_NAMES = {
    "nan": None, "NaN": None, "NaT": None, "null": None, "true": True, "false": False,
    "inf": math.inf,
}  # fmt: skip
_WRAPPERS = frozenset({"array", "np", "numpy"})
_QUOTED_LIST = re.compile(r"[\[{]\s*[bru]{0,2}['\"]")
_BARE_LIST = re.compile(r"\[(?=.*[^\W\d_])[^\[\]{}()'\"]*,[^\[\]{}()'\"]*\]", re.DOTALL)


def parse_written(text: str) -> object:
    """Parses the list or object that a text contains; returns other texts unchanged.

    Accepts JSON, and what pandas writes to CSV for a column of lists (`['a', nan]`), tuples
    (`('a', 'b')`), sets (`{'a'}`), objects (`{'a': 1}`) and numpy arrays (`['a' 'b']`). Tuples,
    sets and arrays become lists in the order of the text.

    Raises:
        ValueError: The text starts like a list or object but is incomplete, such as an array that
            numpy shortened by `...`, or a list of words without quotes.
    """
    stripped = text.strip()
    if stripped[:1] not in _OPENING or len(text) > _MAX_CHARS:
        return text
    for read in (msgspec.json.decode, _python):
        try:
            found: object = read(stripped)
        except (*UNDECODABLE, SyntaxError, ValueError, MemoryError, tokenize.TokenError):
            continue
        return found if isinstance(found, list | dict) else text
    if _QUOTED_LIST.match(stripped) or _BARE_LIST.fullmatch(stripped):
        raise ValueError("incomplete list or object")
    return text


def _python(text: str) -> object:
    """Parses a Python literal, or an array as numpy prints it, separated by spaces.

    Inserts commas first, because Python joins adjacent strings: `['a' 'b']` must not be `['ab']`.
    """
    parts: list[str] = []
    after_value = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _LAYOUT:
            continue
        is_value = token.type in _VALUES
        if after_value and (is_value or token.string == "["):
            parts.append(",")
        parts.append(token.string)
        after_value = is_value or token.string in {"]", ")"}
        if token.type == tokenize.NAME and token.string in _WRAPPERS:
            after_value = False
    with warnings.catch_warnings(action="ignore"):  # an unknown escape such as \d
        return _value(ast.parse(" ".join(parts), mode="eval").body)


def _value(node: ast.expr) -> object:
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return [_value(part) for part in parts]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name)), args=[first, *_]
        ) if name in _WRAPPERS:
            return _value(first)
    raise ValueError("not a literal")


def _key(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str() as key):
            return key
    raise ValueError("not a string key")
