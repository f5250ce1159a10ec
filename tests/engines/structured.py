"""Constraints on answers, and whether a text satisfies one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from silkline.core import Constraint, ConstraintKind


@dataclass(frozen=True)
class Case:
    """A constraint, and a check of the whole text of an answer."""

    name: str
    constraint: Constraint
    conforms: Callable[[str], bool]


def schema(name: str, value: Any) -> Case:
    validator = jsonschema_rs.Draft202012Validator(value, validate_formats=True)
    text = json.dumps(value)
    return Case(
        name,
        Constraint(ConstraintKind.JSON_SCHEMA, text),
        lambda answer: validator.is_valid(json.loads(answer)),
    )


def regex(name: str, pattern: str) -> Case:
    matches = re.compile(pattern).fullmatch
    return Case(
        name, Constraint(ConstraintKind.REGEX, pattern), lambda answer: bool(matches(answer))
    )


def _item(**fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


_NODE = {
    "$defs": {
        "node": _item(
            v={"type": "integer", "minimum": 0, "maximum": 9},
            next={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
        )
    },
    "$ref": "#/$defs/node",
}

BOUNDED = [
    schema("enum", {"enum": ["red", "green", 3, None, {"a": [1]}]}),
    schema("const", {"const": 'only "this"\n'}),
    schema("boolean", {"type": "boolean"}),
    schema("a small integer", {"type": "integer", "minimum": -5, "maximum": 120}),
    schema("a share", {"type": "number", "minimum": 0, "maximum": 1}),
    schema("a short string", {"type": "string", "minLength": 2, "maxLength": 5}),
    schema("a date", {"type": "string", "format": "date"}),
    schema("a pattern", {"type": "string", "pattern": r"^[A-Z]{2}-\d{3}$"}),
    schema("null or bool", {"type": ["null", "boolean"]}),
    schema(
        "an object",
        _item(
            colour={"enum": ["red", "blue"]},
            count={"type": "integer", "minimum": 0, "maximum": 99},
            sold={"type": "boolean"},
        ),
    ),
    schema(
        "optional properties",
        {
            "type": "object",
            "properties": {name: {"type": "boolean"} for name in "abcd"},
            "required": ["c"],
        },
    ),
    schema(
        "an array",
        {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
    ),
    schema(
        "a tuple",
        {
            "type": "array",
            "prefixItems": [{"type": "boolean"}, {"type": "null"}],
            "items": False,
            "minItems": 2,
        },
    ),
    schema(
        "one of two",
        {
            "oneOf": [
                _item(kind={"const": "a"}, x={"type": "boolean"}),
                _item(kind={"const": "b"}, y={"type": "null"}),
            ]
        },
    ),
    regex("a plate", r"[A-Z]{2}[0-9]{2} [A-Z]{3}"),
    regex("yes or no", r"yes|no(, sorry)?"),
    Case(
        "a choice",
        Constraint(ConstraintKind.CHOICE, json.dumps(["red", "green", "reddish", "blå"])),
        lambda answer: answer in ("red", "green", "reddish", "blå"),
    ),
    Case(
        "a grammar",
        Constraint(
            ConstraintKind.GRAMMAR,
            'root ::= colour " " number\ncolour ::= "red" | "blue"\nnumber ::= [1-9] [0-9]{0,2}\n',
        ),
        lambda answer: bool(re.fullmatch(r"(red|blue) [1-9][0-9]{0,2}", answer)),
    ),
]
"""Constraints whose longest answer is short."""

UNBOUNDED = [
    Case(
        "any object",
        Constraint(ConstraintKind.JSON_OBJECT),
        lambda answer: isinstance(json.loads(answer), dict),
    ),
    schema("any value", {}),
    schema("a string", {"type": "string"}),
    schema("an integer", {"type": "integer"}),
    schema("a number", {"type": "number", "exclusiveMinimum": 0}),
    schema("a map", {"type": "object", "additionalProperties": {"type": "integer"}}),
    schema("a list that ends", _NODE),
    regex("words", r"\w+( \w+)*\."),
    Case(
        "a sum",
        Constraint(
            ConstraintKind.GRAMMAR,
            'root ::= term (("+" | "-") term)*\nterm ::= [0-9]+ | "(" root ")"\n',
        ),
        lambda answer: (
            answer.count("(") == answer.count(")") and bool(re.fullmatch(r"[-+()0-9]+", answer))
        ),
    ),
]
"""Constraints whose answers may be long, so that `max_tokens` may cut them."""

CASES = BOUNDED + UNBOUNDED


@dataclass(frozen=True)
class Refused:
    """A constraint that is refused, and a part of the message as a pattern."""

    name: str
    constraint: Constraint
    message: str


def _refused(name: str, kind: ConstraintKind, text: str, message: str) -> Refused:
    return Refused(name, Constraint(kind, text), message)


_SCHEMA, _REGEX, _GRAMMAR = (
    ConstraintKind.JSON_SCHEMA,
    ConstraintKind.REGEX,
    ConstraintKind.GRAMMAR,
)

REFUSED = [
    _refused("not", _SCHEMA, '{"properties":{"a":{"not":{}}}}', "`not` at properties.a"),
    _refused("uniqueItems", _SCHEMA, '{"type":"array","uniqueItems":true}', "`uniqueItems`"),
    _refused("deep", _SCHEMA, '{"items":' * 10_000 + "{}" + "}" * 10_000, "nested too deeply"),
    _refused("no value", _SCHEMA, '{"enum":["a"],"type":"null"}', "no value"),
    _refused("endless", _SCHEMA, '{"items":{"$ref":"#"},"minItems":1,"type":"array"}', "never"),
    _refused("lookahead", _REGEX, "(?!a)b", "lookaround"),
    _refused("a million repetitions", _REGEX, "(a{0,1000}){0,1001}", "repeats"),
    _refused("not regular", _REGEX, r"(a+)\1", r"escape"),
    _refused("left recursion", _GRAMMAR, 'root ::= root "a" | "b"', "recurses at its start"),
    _refused("a missing rule", _GRAMMAR, "root ::= other", "other"),
    _refused("not EBNF", _GRAMMAR, 'start: "a"', "EBNF"),
    _refused("no choice", ConstraintKind.CHOICE, '[""]', "no choice"),
]
