"""Reads regular expressions: the subset that describes a regular language."""

from __future__ import annotations

import re

from silkline.engines.grammar import charsets
from silkline.engines.grammar.nodes import (
    EMPTY,
    Chars,
    Literal,
    Node,
    Ranges,
    Repeat,
    choice,
    optional,
    series,
)
from silkline.engines.grammar.refusal import Unsupported

_MAX_DEPTH = 64
MAX_REPEATS = 65_536

_BOUNDS = re.compile(r"\{(\d{1,9})(,(\d{1,9})?)?\}")
_GROUP = re.compile(r"\((?:\?:|\?P?<[A-Za-z_]\w*>)?(?!\?)")
_NAMED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")
_ANYTHING = Repeat(Chars(charsets.ANY), 0, None)


def whole(pattern: str) -> Node:
    """Returns the texts that a pattern matches from their first to their last character.

    Raises:
        Unsupported: The pattern is invalid, or not regular.
    """
    return _Parser(pattern, EMPTY).parse()


def anywhere(pattern: str) -> Node:
    """Returns the texts in which a pattern matches somewhere, as JSON Schema's `pattern` does.

    Raises:
        Unsupported: The pattern is invalid, or not regular.
    """
    return _Parser(pattern, _ANYTHING).parse()


class _Parser:
    """A recursive descent over the pattern.

    An anchor is allowed only where it begins or ends an alternative of the whole pattern; what is
    not anchored there is filled with `rest`.
    """

    def __init__(self, pattern: str, rest: Node) -> None:
        self._text = pattern
        self._rest = rest
        self._at = 0

    def parse(self) -> Node:
        node = self._alternatives(0)
        if self._at < len(self._text):
            raise self._wrong("has a `)` too many")
        return node

    def _alternatives(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise Unsupported(f"has groups nested deeper than {_MAX_DEPTH}. Simplify it.")
        items = [self._alternative(depth)]
        while self._next("|"):
            items.append(self._alternative(depth))
        return choice(*items)

    def _alternative(self, depth: int) -> Node:
        starts = self._next("^")
        items: list[Node] = []
        ends = False
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if ends:
                raise self._wrong("has a `$` that does not end it")
            if self._next("$"):
                ends = True
            else:
                items.append(self._repeated(self._atom(depth)))
        if depth and (starts or ends):
            raise self._wrong("has an anchor inside a group")
        if depth:
            return series(*items)
        before, after = (EMPTY if starts else self._rest), (EMPTY if ends else self._rest)
        return series(before, *items, after)

    def _atom(self, depth: int) -> Node:
        char = self._text[self._at]
        if char == "(":
            return self._group(depth)
        self._at += 1
        if char == "[":
            return Chars(self._class())
        if char == ".":
            return Chars(charsets.DOT)
        if char == "\\":
            certain, _, single = self._escape()
            return Literal(single) if single else Chars(certain)
        if char in "*+?^":
            raise self._wrong(f"has a `{char}` that has nothing to apply to")
        return Literal(char)

    def _group(self, depth: int) -> Node:
        opened = _GROUP.match(self._text, self._at)
        if opened is None:
            raise self._wrong("has a lookaround, a flag or another special group")
        self._at = opened.end()
        node = self._alternatives(depth + 1)
        if not self._next(")"):
            raise self._wrong("has a group that is not closed")
        return node

    def _repeated(self, node: Node) -> Node:
        repeated = self._quantified(node)
        if repeated is node:
            return node
        if self._next("+"):
            raise self._wrong("has a possessive quantifier")
        self._next("?")  # a lazy quantifier allows the same texts
        return repeated

    def _quantified(self, node: Node) -> Node:
        if self._next("*"):
            return Repeat(node, 0, None)
        if self._next("+"):
            return Repeat(node, 1, None)
        if self._next("?"):
            return optional(node)
        bounds = _BOUNDS.match(self._text, self._at)
        if bounds is None:
            return node
        self._at = bounds.end()
        return self._counted(node, bounds)

    def _counted(self, node: Node, bounds: re.Match[str]) -> Node:
        low = int(bounds[1])
        high = low if bounds[2] is None else None if bounds[3] is None else int(bounds[3])
        if high is not None and high < low:
            raise self._wrong("has a repetition whose maximum is below its minimum")
        if max(low, high or 0) > MAX_REPEATS:
            raise Unsupported(f"repeats something more than {MAX_REPEATS} times. Ask for fewer.")
        return Repeat(node, low, high)

    def _class(self) -> Ranges:
        """Reads a class after its `[`."""
        negated = self._next("^")
        certain: list[tuple[int, int]] = []
        possible: list[tuple[int, int]] = []
        first = True
        while first or not self._next("]"):
            if self._at >= len(self._text):
                raise self._wrong("has a class that is not closed")
            first = False
            low, wide, single = self._member()
            if single and self._text[self._at : self._at + 1] == "-" and self._range_follows():
                self._at += 1
                _, _, last = self._member()
                if not last or last < single:
                    raise self._wrong("has a range in a class that is not in order")
                low = wide = ((ord(single), ord(last)),)
            certain.extend(low)
            possible.extend(wide)
        found = charsets.complement(tuple(possible)) if negated else charsets.union(certain)
        if not found:
            raise self._wrong("has a class without characters")
        return found

    def _range_follows(self) -> bool:
        return self._text[self._at + 1 : self._at + 2] not in ("", "]")

    def _member(self) -> tuple[Ranges, Ranges, str]:
        """Reads a member of a class: its certain and possible characters, and if it is only one."""
        if self._at >= len(self._text):
            raise self._wrong("has a class that is not closed")
        char = self._text[self._at]
        self._at += 1
        if char == "\\":
            if self._next("b"):
                return charsets.of("\b"), charsets.of("\b"), "\b"
            return self._escape()
        return charsets.of(char), charsets.of(char), char

    def _escape(self) -> tuple[Ranges, Ranges, str]:
        """Reads an escape after its backslash, as `_member` does."""
        char = self._text[self._at : self._at + 1]
        if not char:
            raise self._wrong("ends with a backslash")
        if char in "dDwWsS":
            self._at += 1
            return (*charsets.class_of(char), "")
        single = self._escaped_character(char)
        return charsets.of(single), charsets.of(single), single

    def _escaped_character(self, char: str) -> str:
        code = _HEX.match(self._text, self._at)
        if code is not None:
            self._at = code.end()
            value = int(code[1] or code[2] or code[3], 16)
            if not charsets.is_character(value):
                raise self._wrong("has an escape that is not a character")
            return chr(value)
        if char == "0" and self._text[self._at + 1 : self._at + 2].isdigit():
            raise self._wrong("has an octal escape")
        if char.isascii() and char.isalnum() and char not in _NAMED:
            raise self._wrong(f"has the escape `\\{char}`")
        self._at += 1
        return _NAMED.get(char, char)

    def _next(self, char: str) -> bool:
        if self._text.startswith(char, self._at):
            self._at += 1
            return True
        return False

    def _wrong(self, what: str) -> Unsupported:
        return Unsupported(f"{what}, at character {self._at}, which is not supported. Change it.")
