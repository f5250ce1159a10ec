"""Checks that a grammar can be enforced in bounded time: its size, its rules and its recursion."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from silkline.engines.grammar.nodes import (
    Chars,
    Choice,
    Grammar,
    Literal,
    Node,
    Ref,
    Repeat,
    Series,
    children,
    walk,
)
from silkline.engines.grammar.refusal import Unsupported

MAX_NODES = 20_000
"""Maximum nodes of a grammar: literals, sets of characters, and what combines them."""

MAX_REPETITIONS = 1_000_000
"""Maximum repetitions of one thing, when repetitions are inside repetitions."""

_MAX_WORK = 2_000_000
"""Maximum nodes visited to find the shortest texts."""

_UNKNOWN = 1 << 60


def check(grammar: Grammar) -> None:
    """Checks a grammar.

    Raises:
        Unsupported: A rule is missing, recurses at its start or never ends, or there are too many.
    """
    nodes = sum(1 for rule in grammar.rules.values() for _ in walk(rule))
    if nodes > MAX_NODES:
        raise Unsupported(f"has {nodes} parts; at most {MAX_NODES} are allowed. Make it smaller.")
    for rule in grammar.rules.values():
        if (number := repetitions(rule)) > MAX_REPETITIONS:
            raise Unsupported(
                f"repeats repetitions, up to {number} times in all; at most {MAX_REPETITIONS} are "
                "allowed. Lower the maximum numbers of repetitions."
            )
        for node in walk(rule):
            if isinstance(node, Ref) and node.name not in grammar.rules:
                raise Unsupported(f"uses the rule {node.name}, which is missing. Define it.")
    sizes = shortest(grammar)
    endless = [name for name, size in sizes.items() if size >= _UNKNOWN]
    if endless:
        raise Unsupported(f"never ends: the rule {endless[0]} always contains itself. Change it.")
    _refuse_left_recursion(grammar, sizes)


def repetitions(node: Node) -> int:
    """Returns how often a part of a node repeats, by limits inside limits; rules count as one."""
    inner = max(map(repetitions, children(node)), default=1)
    return inner * max(1, node.min, node.max or 0) if isinstance(node, Repeat) else inner


def shortest(grammar: Grammar) -> dict[str, int]:
    """Returns the length of the shortest text of each rule, in characters.

    Raises:
        Unsupported: The rules refer to one another in too many ways.
    """
    sizes = dict.fromkeys(grammar.rules, _UNKNOWN)
    users = _users(grammar)
    weights = {name: sum(1 for _ in walk(rule)) for name, rule in grammar.rules.items()}
    changed = dict.fromkeys(_inner_first(grammar))
    work = 0
    while changed:
        name = next(iter(changed))
        del changed[name]
        work += weights[name]
        if work > _MAX_WORK:
            raise Unsupported("has rules that refer to one another too often. Simplify it.")
        size = length(grammar.rules[name], sizes)
        if size < sizes[name]:
            sizes[name] = size
            changed.update(dict.fromkeys(users.get(name, ())))
    return sizes


def length(node: Node, sizes: dict[str, int]) -> int:
    """Returns the length of the shortest text of a node, by those of the rules."""
    match node:
        case Literal(text):
            return len(text)
        case Chars():
            return 1
        case Ref(name):
            return sizes[name]
        case Series(items):
            return min(_UNKNOWN, sum(length(item, sizes) for item in items))
        case Choice(items):
            return min(length(item, sizes) for item in items)
        case Repeat(item, low, _):
            return min(_UNKNOWN, low * length(item, sizes)) if low else 0


def flat(grammar: Grammar) -> list[str]:
    """Returns the rules that contain no recursive rule, each after those that it contains."""
    found: dict[str, None] = {}
    for name in _inner_first(grammar):
        if found.keys() >= set(_refs(grammar.rules[name])):
            found[name] = None
    return list(found)


def _inner_first(grammar: Grammar) -> list[str]:
    """Returns the rules so that each comes after those that it contains, but for recursion."""
    found: list[str] = []
    seen: set[str] = set()
    for start in grammar.rules:
        work = [] if start in seen else [(start, iter(_refs(grammar.rules[start])))]
        seen.add(start)
        while work:
            name, inner = work[-1]
            target = next((other for other in inner if other not in seen), None)
            if target is None:
                found.append(name)
                work.pop()
            else:
                seen.add(target)
                work.append((target, iter(_refs(grammar.rules[target]))))
    return found


def _refs(node: Node) -> list[str]:
    return list(dict.fromkeys(part.name for part in walk(node) if isinstance(part, Ref)))


def _users(grammar: Grammar) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for name, rule in grammar.rules.items():
        for used in _refs(rule):
            users.setdefault(used, []).append(name)
    return users


def _refuse_left_recursion(grammar: Grammar, sizes: dict[str, int]) -> None:
    starts = {name: set(_starts(rule, sizes)) for name, rule in grammar.rules.items()}
    try:
        TopologicalSorter(starts).prepare()
    except CycleError as error:
        raise Unsupported(
            f"recurses at its start: the rule {error.args[1][0]} may begin with itself. Use a "
            "repetition, or put something before it."
        ) from error


def _starts(node: Node, sizes: dict[str, int]) -> Iterable[str]:
    """Yields the rules with which a node may start."""
    match node:
        case Ref(name):
            yield name
        case Choice(items):
            for item in items:
                yield from _starts(item, sizes)
        case Repeat(item, _, _):
            yield from _starts(item, sizes)
        case Series(items):
            for item in items:
                yield from _starts(item, sizes)
                if length(item, sizes):
                    return
