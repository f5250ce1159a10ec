"""The values of JSON, as grammars.

White space is short, so that a model cannot fill an answer with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from silkline.engines.grammar import charsets, numbers, strings
from silkline.engines.grammar.nodes import (
    Chars,
    Literal,
    Node,
    Ref,
    Repeat,
    choice,
    literals,
    optional,
    series,
)

_SPACE = choice(
    Literal(""), Literal(" "), series(Literal("\n"), Repeat(Chars(charsets.of(" ")), 0, 32))
)
OPEN, CLOSE, COMMA, COLON = Ref("open"), Ref("close"), Ref("comma"), Ref("colon")
START, END = Ref("start"), Ref("end")
KEY, ANY = Ref("string"), Ref("any")

COMMON: dict[str, Node] = {
    "open": series(Literal("{"), _SPACE),
    "close": series(_SPACE, Literal("}")),
    "start": series(Literal("["), _SPACE),
    "end": series(_SPACE, Literal("]")),
    "comma": series(Literal(","), _SPACE),
    "colon": series(Literal(":"), optional(Literal(" "))),
    "string": strings.string(0, None),
    "number": numbers.NUMBER,
    "integer": numbers.INTEGER,
    "boolean": literals(("true", "false")),
    "null": Literal("null"),
}


def _joined(item: Node, low: int, high: int | None) -> Node:
    """Returns an item `low` to `high` times, at least once, with commas between."""
    if high == 1:
        return item
    more = Repeat(series(COMMA, item), max(0, low - 1), None if high is None else high - 1)
    return series(item, more)


_PAIR = series(KEY, COLON, ANY)
VALUES: dict[str, Node] = {
    "any": choice(*map(Ref, ("object", "array", "string", "number", "boolean", "null"))),
    "object": choice(Literal("{}"), series(OPEN, _joined(_PAIR, 1, None), CLOSE)),
    "array": choice(Literal("[]"), series(START, _joined(ANY, 1, None), END)),
}
"""Any value, any object and any array."""


def array(first: Sequence[Node], more: Node, low: int, high: int | None) -> Node:
    """Returns arrays.

    Args:
        first: The first items; the array has all of them.
        more: The items after them.
        low: Minimum number of items.
        high: Maximum number of items, at least that of `first`; None means any number.
    """
    if high == 0:
        return Literal("[]")
    low_more = max(0, low - len(first))
    high_more = None if high is None else high - len(first)
    if first:
        parts = [node for item in first[1:] for node in (COMMA, item)]
        tail = () if high_more == 0 else (Repeat(series(COMMA, more), low_more, high_more),)
        return series(START, first[0], *parts, *tail, END)
    return (
        series(START, _joined(more, low_more, high_more), END)
        if low_more
        else choice(Literal("[]"), series(START, _joined(more, low_more, high_more), END))
    )


def mapping(pair: Node, low: int, high: int | None) -> Node:
    """Returns objects with `low` to `high` times the same kind of key and value; 0 or 1 to any."""
    if high == 0:
        return Literal("{}")
    filled = series(OPEN, _joined(pair, low, high), CLOSE)
    return filled if low else choice(Literal("{}"), filled)


def fields(pairs: Sequence[tuple[Node, bool]], rule: Callable[[Node], Node]) -> Node:
    """Returns objects with these keys and values, in their order.

    Args:
        pairs: Each key and value, and whether it is required.
        rule: Makes a rule of a node.
    """
    required = [index for index, (_, wanted) in enumerate(pairs) if wanted]
    starts = 1 + (required[0] if required else len(pairs) - 1)  # those that may come first
    rest: list[Node] = []  # in reverse
    bodies: list[Node] = []
    for index in reversed(range(len(pairs))):
        pair, wanted = pairs[index]
        if index + 1 < starts:
            rest = [rule(series(*reversed(rest)))]  # shared by the bodies that start before it
        if index < starts:
            bodies.append(series(pair, *reversed(rest)))
        item = series(COMMA, pair)
        rest.append(item if wanted else optional(item))
    if not bodies:
        return Literal("{}")
    filled = series(OPEN, choice(*reversed(bodies)), CLOSE)
    return filled if required else choice(Literal("{}"), filled)
