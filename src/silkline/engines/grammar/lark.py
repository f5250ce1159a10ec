"""Writes grammars for llguidance, in its form of Lark.

https://github.com/guidance-ai/llguidance, docs/syntax.md
"""

from __future__ import annotations

from silkline.engines.grammar.check import flat, shortest
from silkline.engines.grammar.nodes import (
    Chars,
    Choice,
    Grammar,
    Literal,
    Node,
    Ref,
    Repeat,
    Series,
    walk,
)

_MAX_TOKEN = 200_000
"""Maximum characters of the regular expression of a word, with all rules in it written out."""


def write(grammar: Grammar) -> str:
    """Writes a grammar as text.

    A word of the language becomes one regular expression. In a grammar that names none, all rules
    without recursion are words: one character a word would be slow.
    """
    return _Writer(grammar).write()


class _Writer:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._sizes = shortest(grammar)
        self._names = {name: f"r{index}" for index, name in enumerate(grammar.rules)}
        self._expressions: dict[str, str] = {}
        for name in flat(grammar):
            self._express(name)
        if grammar.tokens:
            kept = grammar.tokens & self._expressions.keys()
            self._expressions = {name: self._expressions[name] for name in kept}

    def write(self) -> str:
        lines = [f"start: {self._names[self._grammar.root]}"]
        for name, node in self._grammar.rules.items():
            rule, expression = self._names[name], self._expressions.get(name)
            if expression is None:
                lines.append(f"{rule}: {self._written(node)}")
            elif self._sizes[name]:
                lines.append(f"{rule}: {rule.upper()}\n{rule.upper()}: /{expression}/")
            else:  # a word has at least one character
                lines.append(f"{rule}: {rule.upper()}?\n{rule.upper()}: /{expression}/ & /(?s:.+)/")
        return "\n".join(lines) + "\n"

    def _written(self, node: Node) -> str:
        """Returns a node outside a word; characters there are words of one character."""
        match node:
            case Literal(text):
                return f"/{_quoted(text)}/" if text else '""'
            case Chars():
                return f"/{_pattern(node, {})}/"
            case Ref(name):
                return self._names[name]
            case Series(items):
                return "(" + " ".join(map(self._written, items)) + ")"
            case Choice(items):
                return "(" + " | ".join(map(self._written, items)) + ")"
            case Repeat(item, low, high):
                return f"({self._written(item)}){_bounds(low, high)}"

    def _express(self, name: str) -> None:
        """Writes a rule as a regular expression, unless that is too long."""
        node = self._grammar.rules[name]
        inner = {part.name for part in walk(node) if isinstance(part, Ref)}
        if inner <= self._expressions.keys():
            expression = _pattern(node, self._expressions)
            if len(expression) <= _MAX_TOKEN:
                self._expressions[name] = expression


def _pattern(node: Node, rules: dict[str, str]) -> str:
    """Returns a node as a regular expression, with the expressions of rules in it."""
    match node:
        case Literal(text):
            return _quoted(text)
        case Chars(ranges):
            return "[" + "".join(map(_range, ranges)) + "]"
        case Ref(name):
            return f"(?:{rules[name]})"
        case Series(items):
            return "".join(_pattern(item, rules) for item in items)
        case Choice(items):
            return "(?:" + "|".join(_pattern(item, rules) for item in items) + ")"
        case Repeat(item, low, high):
            return f"(?:{_pattern(item, rules)}){_bounds(low, high)}"


def _bounds(low: int, high: int | None) -> str:
    return f"{{{low},{'' if high is None else high}}}"


def _range(pair: tuple[int, int]) -> str:
    low, high = (_quoted(chr(code)) for code in pair)
    return low if low == high else f"{low}-{high}"


def _quoted(text: str) -> str:
    return "".join(
        char if char.isascii() and char.isalnum() else f"\\u{{{ord(char):x}}}" for char in text
    )
