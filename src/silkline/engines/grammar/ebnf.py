"""Reads and writes grammars in EBNF, in the form of GBNF (llama.cpp) and xgrammar.

root ::= "yes" | "no" reason?
reason ::= ", " [a-z ]{1,40}
"""

from __future__ import annotations

import re

from silkline.engines.grammar import charsets
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
    choice,
    optional,
    series,
)
from silkline.engines.grammar.refusal import Unsupported
from silkline.engines.grammar.regex import MAX_REPEATS

_MAX_DEPTH = 64
_SKIPPED = re.compile(r"(?:\s|#[^\n]*)*")
_RULE = re.compile(r"([A-Za-z_][\w-]*)\s*::=", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_BOUNDS = re.compile(r"\{\s*(\d{1,9})\s*(,\s*(\d{1,9})?\s*)?\}")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt\\\"'\[\]^\-/]))"
)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}

_MAX_WRITTEN_OUT = 8
"""Maximum repetitions of a set of characters that do not become a rule: with 140,000 tokens, a
string of JSON whose escapes are rules costs xgrammar 30 times as much in each step."""


def parse(text: str) -> Grammar:
    """Reads a grammar; its first rule is `root`, or the rule with that name.

    Raises:
        Unsupported: The text is not a grammar in EBNF.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> Grammar:
        rules: dict[str, Node] = {}
        self._skip()
        while self._at < len(self._text):
            head = _RULE.match(self._text, self._at)
            if head is None:
                raise self._wrong("must consist of rules such as `root ::= ...` in EBNF")
            self._at = head.end()
            if head[1] in rules:
                raise Unsupported(f"defines the rule {head[1]} twice. Remove one.")
            rules[head[1]] = self._alternatives(0)
        if "root" not in rules:
            raise Unsupported("has no rule `root`. Add it: it describes the whole answer.")
        return Grammar(rules)

    def _alternatives(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise Unsupported(f"has groups nested deeper than {_MAX_DEPTH}. Use more rules.")
        items = [self._sequence(depth)]
        while self._next("|"):
            items.append(self._sequence(depth))
        return choice(*items)

    def _sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while True:
            self._skip()
            ended = self._text[self._at : self._at + 1] in ("", "|", ")")
            if ended or _RULE.match(self._text, self._at):
                break
            items.append(self._repeated(self._atom(depth)))
        return series(*items)

    def _atom(self, depth: int) -> Node:
        char = self._text[self._at]
        if char in "\"'":
            return Literal(self._string(char))
        if char == "[":
            return Chars(self._class())
        if char == ".":
            self._at += 1
            return Chars(charsets.ANY)
        if char == "(":
            self._at += 1
            node = self._alternatives(depth + 1)
            if not self._next(")"):
                raise self._wrong("has a group that is not closed")
            return node
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise self._wrong(f"has an unexpected `{char}`")
        self._at = name.end()
        return Ref(name[0])

    def _repeated(self, node: Node) -> Node:
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

    def _string(self, quote: str) -> str:
        self._at += 1
        found = []
        while not self._text.startswith(quote, self._at):
            found.append(self._character("a string"))
        self._at += 1
        return "".join(found)

    def _class(self) -> Ranges:
        self._at += 1
        negated = self._text.startswith("^", self._at)
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while not self._text.startswith("]", self._at):
            low = high = self._character("a class")
            if self._text.startswith("-", self._at) and self._text[self._at + 1 :][:1] != "]":
                self._at += 1
                high = self._character("a class")
            if high < low:
                raise self._wrong("has a range in a class that is not in order")
            ranges.append((ord(low), ord(high)))
        self._at += 1
        found = charsets.union(ranges)
        found = charsets.complement(found) if negated else found
        if not found:
            raise self._wrong("has a class without characters")
        return found

    def _character(self, within: str) -> str:
        if self._at >= len(self._text):
            raise self._wrong(f"has {within} that is not closed")
        if self._text[self._at] != "\\":
            self._at += 1
            return self._text[self._at - 1]
        escape = _ESCAPE.match(self._text, self._at)
        if escape is None:
            raise self._wrong("has an unknown escape")
        self._at = escape.end()
        if escape[4]:
            return _NAMED.get(escape[4], escape[4])
        value = int(escape[1] or escape[2] or escape[3], 16)
        if not charsets.is_character(value):
            raise self._wrong("has an escape that is not a character")
        return chr(value)

    def _next(self, char: str) -> bool:
        self._skip()
        if self._text.startswith(char, self._at):
            self._at += 1
            return True
        return False

    def _skip(self) -> None:
        skipped = _SKIPPED.match(self._text, self._at)
        self._at = skipped.end() if skipped else self._at

    def _wrong(self, what: str) -> Unsupported:
        line = self._text.count("\n", 0, self._at) + 1
        return Unsupported(f"{what}, at line {line}. Correct it.")


def write(grammar: Grammar) -> str:
    """Writes a grammar as text that llama.cpp, vLLM and OpenVINO GenAI read.

    Every repetition becomes a rule: xgrammar's time to compile repetitions in one rule grows with
    the cube of their number.
    """
    return _Writer(grammar).write()


class _Writer:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._names = {
            name: "root" if name == grammar.root else f"r{index}"
            for index, name in enumerate(grammar.rules)
        }
        self._repeats: dict[Node, str] = {}
        self._lines: list[str] = []

    def write(self) -> str:
        for name, node in self._grammar.rules.items():
            self._lines.append(f"{self._names[name]} ::= {self._written(node)}")
        return "\n".join(self._lines) + "\n"

    def _written(self, node: Node) -> str:
        match node:
            case Literal(text):
                return '"' + "".join(map(_escaped, text)) + '"'
            case Chars(ranges):
                return "[" + "".join(map(_range, ranges)) + "]"
            case Ref(name):
                return self._names[name]
            case Series(items) | Choice(items):
                between = " " if isinstance(node, Series) else " | "
                return "(" + between.join(map(self._written, items)) + ")"
            case Repeat():
                return self._repeated(node)

    def _repeated(self, node: Repeat) -> str:
        if isinstance(node.item, Chars) and 0 < node.min == (node.max or 0) <= _MAX_WRITTEN_OUT:
            return "(" + " ".join([self._written(node.item)] * node.min) + ")"
        name = self._repeats.get(node)
        if name is None:
            high = "" if node.max is None else node.max
            name = self._repeats[node] = f"n{len(self._repeats)}"
            item = self._written(node.item)
            if isinstance(node.item, Chars):
                # Not as one set: xgrammar would write its repetitions out.
                item = f"({item} | {item})"
            self._lines.append(f"{name} ::= {item}{{{node.min},{high}}}")
        return name


def _range(pair: tuple[int, int]) -> str:
    low, high = map(chr, pair)
    return _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"


def _escaped(char: str) -> str:
    if char.isascii() and (char.isalnum() or char in " _:,{}"):
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
