"""A grammar over characters: the one form in which every constraint is checked and enforced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Ranges = tuple[tuple[int, int], ...]
"""Ranges of code points, both ends included, sorted and without overlap."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text; it may be empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Series:
    """All items, one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the items, at least one."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item `min` to `max` times; a `max` of None means any number."""

    item: Node
    min: int
    max: int | None


@dataclass(frozen=True, slots=True)
class Ref:
    """What the rule of this name allows."""

    name: str


Node = Literal | Chars | Series | Choice | Repeat | Ref

EMPTY = Literal("")

_MAX_SHARED = 16
"""How often a beginning is shared inside another."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """Rules by name; the text of an answer is what the rule `root` allows.

    Attributes:
        rules: The rules.
        tokens: The rules that are a single word of the language, such as a number; they are not
            recursive.
    """

    rules: dict[str, Node]
    root: str = "root"
    tokens: frozenset[str] = field(default=frozenset())


def series(*items: Node) -> Node:
    """Returns items one after the other, without empty ones and series inside series."""
    flat: list[Node] = []
    for item in items:
        for part in item.items if isinstance(item, Series) else (item,):
            if isinstance(part, Literal) and flat and isinstance(flat[-1], Literal):
                flat[-1] = Literal(flat[-1].text + part.text)
            elif part != EMPTY:
                flat.append(part)
    if not flat:
        return EMPTY
    return flat[0] if len(flat) == 1 else Series(tuple(flat))


def choice(*items: Node) -> Node:
    """Returns one of the items, each of them once, without choices inside the choice."""
    flat = [
        part for item in items for part in (item.items if isinstance(item, Choice) else (item,))
    ]
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else Choice(unique)


def optional(item: Node) -> Node:
    """Returns the item, or nothing."""
    return Repeat(item, 0, 1)


def literals(texts: Iterable[str]) -> Node:
    """Returns one of the texts, at least one.

    Common beginnings are shared: the libraries' time to compile alternatives grows with the square
    of their number.
    """
    ordered = sorted(set(texts))
    return _shared(ordered, 0, 0)


def _shared(texts: Sequence[str], start: int, depth: int) -> Node:
    """Returns the ends, from `start` on, of sorted texts with the same beginning."""
    if depth > _MAX_SHARED:
        return choice(*(Literal(text[start:]) for text in texts))
    first, last = texts[0], texts[-1]
    end = start
    while end < min(len(first), len(last)) and first[end] == last[end]:
        end += 1
    if len(texts) == 1:
        return Literal(first[start:])
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text[end : end + 1], []).append(text)
    branches = [_shared(group, end, depth + 1) for letter, group in groups.items() if letter]
    rest = choice(*branches) if branches else EMPTY
    return series(Literal(first[start:end]), optional(rest) if "" in groups else rest)


def children(node: Node) -> tuple[Node, ...]:
    """Returns the nodes directly inside a node."""
    if isinstance(node, Series | Choice):
        return node.items
    return (node.item,) if isinstance(node, Repeat) else ()


def walk(node: Node) -> Iterator[Node]:
    """Yields a node and all nodes inside it."""
    open_nodes = [node]
    while open_nodes:
        node = open_nodes.pop()
        yield node
        open_nodes.extend(children(node))
