"""What a JSON Schema allows: every text that its grammar allows matches it; the rest is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silkline.core import Constraint, ConstraintKind
from silkline.engines.grammar import Grammar, grammar_of
from silkline.engines.grammar.keywords import KEYWORDS
from silkline.engines.grammar.overlap import exclusive
from silkline.engines.grammar.sample import sample
from silkline.engines.grammar.strings import FORMATS
from silkline.errors import InvalidRequest

_STRING = {"type": "string"}
_TREE = {
    "type": "object",
    "properties": {"v": _STRING, "in": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["in"],
}

ACCEPTED: list[Any] = [
    True,
    {},
    {"type": "object"},
    {"enum": [1, 1.5, 'a"\\\n', None, [], {"é": "\u2028"}]},
    {"const": {"a": [True, None]}},
    {"enum": ["a", 1, None], "type": ["string", "null"]},
    {"type": ["integer", "string"], "minimum": 3, "maxLength": 2},
    {"minimum": 3},
    {"properties": {"a": _STRING}},
    {"type": "object", "properties": {"a": _STRING, "b": False}, "required": ["a"]},
    {"type": "object", "properties": {'a"\\é': {}}, "required": ['a"\\é']},
    {"type": "object", "required": ["x"]},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
    {"type": "object", "propertyNames": {"pattern": "^[a-c]+$"}, "minProperties": 1},
    {"type": "object", "propertyNames": {"enum": ["a", "b"]}},
    {"type": "object", "propertyNames": True, "minProperties": 1},
    {"type": "object", "propertyNames": False},
    {"type": "object", "propertyNames": {"type": ["string", "integer"]}, "minProperties": 1},
    {"type": "object", "propertyNames": {"type": "integer"}},
    {"type": "object", "patternProperties": {"^x_": _STRING}},
    {"type": "object", "properties": dict.fromkeys("abcde", _STRING), "required": ["b", "d"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    {"type": "array", "maxItems": 0},
    {"type": "array", "items": False},
    {"type": "array", "prefixItems": [_STRING, {"type": "null"}], "minItems": 3},
    {"type": "array", "prefixItems": [_STRING], "items": {"type": "null"}, "maxItems": 4},
    {"type": "array", "prefixItems": [_STRING, _STRING], "maxItems": 1},
    {"type": "string", "minLength": 3},
    {"type": "string", "pattern": "^(a|b)+$"},
    {"type": "string", "pattern": "\\d{3}"},
    {"type": "string", "pattern": '^[^"\\\\]{2}$'},
    {"type": "string", "pattern": '^"\\\\$'},
    *({"type": "string", "format": name} for name in FORMATS),
    {"anyOf": [_STRING, {"type": "integer"}, False]},
    {"oneOf": [_STRING, {"type": "integer"}]},
    {"oneOf": [{"const": 1}, {"const": "1"}, {"enum": [2.5, None, True]}, False]},
    {"oneOf": [{"const": 1, "type": "integer"}, {"enum": [2, 3], "type": "integer"}, _STRING]},
    {"allOf": [{"$ref": "#/$defs/a~1b"}], "$defs": {"a/b": {"type": "boolean"}}, "title": "T"},
    {"$ref": "#/definitions/n", "definitions": {"n": {"type": "null"}}, "description": "d"},
    _TREE,
]


def _tagged(number: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"kind": {"const": number}},
        "required": ["kind"],
        "additionalProperties": False,
    }


REFUSED: list[tuple[Any, str]] = [
    *(
        ({"type": "object", "properties": {"a": {name: value}}}, f"`{name}` at properties.a")
        for name, value in {
            "not": {},
            "if": {},
            "dependentRequired": {},
            "uniqueItems": True,
            "contains": {},
            "unevaluatedProperties": False,
            "$dynamicRef": "#a",
            "$anchor": "a",
            "maxlength": 3,
        }.items()
    ),
    ({"type": "integer", "multipleOf": 5}, "`multipleOf`"),
    ({"type": "string", "pattern": "a", "minLength": 2}, "`minLength or maxLength` beside"),
    ({"type": "string", "pattern": "(?=a)"}, "a pattern that has a lookaround"),
    ({"type": "string", "format": "regex"}, "format that is not supported"),
    ({"anyOf": [_STRING], "type": "string"}, "`type` beside `anyOf`"),
    ({"allOf": [_STRING, _STRING]}, "several schemas"),
    ({"oneOf": [_STRING, {"minLength": 3}]}, "may allow the same value"),
    ({"oneOf": [{"const": 1}, {"const": 1.0}]}, "may allow the same value"),
    ({"oneOf": [{"const": 1}, _STRING, {"enum": [2, 1.0]}]}, "may allow the same value"),
    ({"oneOf": [{"const": "a", "type": "string"}, _STRING]}, "may allow the same value"),
    ({"oneOf": [{"const": "a"}, {"type": "integer"}]}, "may allow the same value"),
    ({"oneOf": [_STRING, True]}, "may allow the same value"),
    ({"oneOf": [_tagged(n) for n in range(257)]}, "at most 256 schemas"),
    ({"$ref": "https://example.com/schema"}, "outside itself"),
    ({"$ref": "#/$defs/none"}, "missing"),
    ({"$ref": "#"}, "never ends"),
    ({"type": "object", "minProperties": 2}, "`minProperties`"),
    ({"type": "array", "minItems": 2, "maxItems": 1}, "below `minItems`"),
    ({"type": "integer", "minimum": 2, "maximum": 1}, "no number"),
    ({"type": "string", "maxLength": 65_537}, "outside 0 to 65536"),
    ({"type": "text"}, "not a type"),
    ({"type": "array", "items": []}, "not a schema"),
    (False, "no value"),
    ([], "not a schema"),
]


def grammar(schema: Any) -> Grammar:
    return grammar_of(Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema)))


@pytest.mark.parametrize("schema", ACCEPTED, ids=json.dumps)
def test_all_that_is_allowed_matches_the_schema(schema: Any) -> None:
    allowed, dice = grammar(schema), random.Random(1)
    valid = jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid
    for _ in range(200):
        text = sample(allowed, dice.randrange, max_chars=100_000)
        assert valid(json.loads(text)), text


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=lambda part: json.dumps(part)[:60])
def test_what_cannot_be_enforced_is_refused_by_name(schema: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message.replace("$", r"\$")) as refusal:
        grammar(schema)
    assert refusal.value.param == "response_format"


@settings(deadline=None)
@given(
    low=st.none() | st.decimals(-2000, 2000, places=3).map(float),
    high=st.none() | st.decimals(-2000, 2000, places=3).map(float),
    strict=st.booleans(),
    kind=st.sampled_from(["integer", "number"]),
    seed=st.integers(0, 1000),
)
def test_numbers_are_within_their_bounds(
    low: float | None, high: float | None, strict: bool, kind: str, seed: int
) -> None:
    names = ("exclusiveMinimum", "exclusiveMaximum") if strict else ("minimum", "maximum")
    bounds = {name: value for name, value in zip(names, (low, high), strict=True)
              if value is not None}  # fmt: skip
    schema = {"type": kind, **bounds}
    try:
        allowed = grammar(schema)
    except InvalidRequest:
        assert low is not None
        assert high is not None
        assert high - low < (1 if kind == "integer" else 1e-9)
        return
    valid = jsonschema_rs.Draft202012Validator(schema).is_valid
    dice = random.Random(seed)
    for _ in range(20):
        text = sample(allowed, dice.randrange, max_chars=1000)
        assert valid(json.loads(text)), text


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(KEYWORDS)), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(schema=st.dictionaries(st.sampled_from(sorted(KEYWORDS)), _ANY, max_size=4))
def test_a_schema_that_is_none_is_refused(schema: Any) -> None:
    try:
        allowed = grammar(schema)
    except InvalidRequest:
        return
    text = sample(allowed, random.Random(1).randrange, max_chars=10_000)
    if len(text) < 10_000:
        json.loads(text)


def test_every_keyword_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "structured-output.md").read_text()
    assert [name for name in sorted(KEYWORDS) if f"`{name}`" not in page] == []
    assert [name for name in FORMATS if f"`{name}`" not in page] == []


def test_a_thousand_properties_are_fast_enough_to_be_allowed() -> None:
    names = [f"p{number}" for number in range(1000)]
    allowed = grammar({"type": "object", "properties": dict.fromkeys(names, _STRING)})
    text = sample(allowed, random.Random(1).randrange, max_chars=10**6)
    assert set(json.loads(text)) <= set(names)


def test_many_constants_are_compared_without_pairs() -> None:
    compared = 0

    class Counted(dict[str, Any]):
        def get(self, *names: Any) -> Any:
            nonlocal compared
            compared += 1
            return super().get(*names)

    assert exclusive([Counted(const=number) for number in range(3000)], lambda schema: schema)
    assert compared < 10 * 3000


def test_the_longest_addresses_are_still_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silkline.engines.grammar.sample._MAX_MORE", 70)
    schema = {"type": "string", "format": "email"}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    grammar = grammar_of(Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema)))
    for seed in range(200):
        text = sample(grammar, random.Random(seed).randrange, max_chars=1000)
        assert validator.is_valid(json.loads(text)), text
