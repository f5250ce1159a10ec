"""Constraints that are meant to cost a server too much time or memory."""

from __future__ import annotations

import json
from typing import Any

from silkline.core import Constraint, ConstraintKind


def _schema(value: Any) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(value))


def _object(properties: dict[str, Any], *, required: bool) -> Constraint:
    return _schema(
        {
            "type": "object",
            "properties": properties,
            "required": list(properties) if required else [],
        }
    )


def _regex(pattern: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, pattern)


def _grammar(text: str) -> Constraint:
    return Constraint(ConstraintKind.GRAMMAR, text)


def _either(depth: int) -> dict[str, Any]:
    if not depth:
        return {"type": "integer"}
    return {
        "anyOf": [
            {"type": "object", "properties": {key: _either(depth - 1)}, "required": [key]}
            for key in "ab"
        ]
    }


_NODE = {"$ref": "#/$defs/node"}
_TEXT = {"type": "string"}

HOSTILE = {
    "nested quantifiers": _regex("(a+)+b"),
    "deeply nested quantifiers": _regex("((((((a+)+)+)+)+)+)+b"),
    "ambiguous alternatives": _regex("(a|aa|aaa|a*)*b"),
    "a million": _regex("(a{1000}){1000}"),
    "up to a million": _regex("(a{0,1000}){0,1000}"),
    "up to a million, three deep": _regex("((a{0,100}){0,100}){0,100}"),
    "more than a million": _regex("((a{1000}){1000}){1000}"),
    "an end in the middle": _regex(".{0,1000}x"),
    "a window": _regex("(.*a.{20}b)|(.*c.{18}d)"),
    "what came before": _regex("(a|b)*a(a|b){20}"),
    "optional parts": _regex("(a?b?c?d?e?f?g?h?){200}"),
    "optional classes": _regex("".join(f"[a-z{chr(0x4E00 + n)}]?" for n in range(2000))),
    "ten thousand groups": _regex("(" * 10_000 + "a" + ")" * 10_000),
    "a long string": _schema({"type": "string", "minLength": 65_536}),
    "a string that may be long": _schema({"type": "string", "maxLength": 65_536}),
    "ten thousand arrays": Constraint(
        ConstraintKind.JSON_SCHEMA, '{"items":' * 7_000 + "{}" + "}" * 7_000
    ),
    "lists of lists": _schema(
        {"type": "array", "maxItems": 1000, "items": {"type": "array", "maxItems": 1000}}
    ),
    "1,000 optional properties": _object({f"p{n}": _TEXT for n in range(1000)}, required=False),
    "1,000 different properties": _object(
        {f"p{n}": {"type": "string", "maxLength": n + 1} for n in range(1000)}, required=True
    ),
    "an enum of 100,000": _schema({"enum": [f"{n * 7919 % 100_003}" for n in range(100_000)]}),
    "an enum of long strings": _schema(
        {"enum": [f"{n * 7919 % 100_003}" + "xyzzyx" * 10 for n in range(800)]}
    ),
    "an enum of longer and longer strings": _schema({"enum": ["a" * n for n in range(1, 350)]}),
    "products": _schema(_either(9)),
    "itself": _schema(
        {
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"left": _NODE, "right": _NODE, "name": _TEXT},
                }
            },
            **_NODE,
        }
    ),
    "an ambiguous sum": _grammar('root ::= s\ns ::= "a" s s | "a"\n'),
    "doubling rules": _grammar(
        "root ::= r0\n"
        + "".join(f"r{n} ::= r{n + 1} r{n + 1}\n" for n in range(24))
        + 'r24 ::= "a"'
    ),
    "doubling optional rules": _grammar(
        "root ::= r0\n"
        + "".join(f"r{n} ::= r{n + 1}? r{n + 1}?\n" for n in range(24))
        + 'r24 ::= "a"'
    ),
    "300 words": _grammar(
        f"root ::= ({' | '.join(f'r{n}' for n in range(300))})*\n"
        + "".join(f'r{n} ::= .* "{n}"\n' for n in range(300))
    ),
}
"""By name; some are allowed and cheap, others must be refused."""
