"""Whether the schemas of a `oneOf` exclude one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

MAX_COMPARED = 256
"""Maximum schemas, besides constants, that are compared with one another."""


def exclusive(schemas: Sequence[Any], resolve: Callable[[Any], Any]) -> bool:
    """Returns whether no value can match two of the schemas; False if that is not clear.

    It is not clear if there are more than `MAX_COMPARED` besides constants.

    Args:
        schemas: The schemas.
        resolve: Follows a schema's `$ref`.
    """
    resolved = [each for each in map(resolve, schemas) if each is not False]
    constants: list[Any] = []
    others: list[Any] = []
    for each in resolved:
        (others if _values(each) is None else constants).append(each)
    return (
        len(others) <= MAX_COMPARED
        and _disjoint([_values(each) or set() for each in constants])
        and _other_kinds(constants, others)
        and all(_differ(one, other, resolve) for one, other in combinations(others, 2))
    )


def _disjoint(sets: Sequence[set[str]]) -> bool:
    return sum(map(len, sets)) == len(set[str]().union(*sets))


def _other_kinds(constants: Sequence[Any], others: Sequence[Any]) -> bool:
    """Returns whether each of the constants has another type than all the others."""
    if not constants or not others:
        return True
    if not all(isinstance(each, dict) for each in others):
        return False
    kinds, other_kinds = [_kinds(each) for each in constants], [_kinds(each) for each in others]
    return all([*kinds, *other_kinds]) and set[str]().union(*kinds).isdisjoint(
        set[str]().union(*other_kinds)
    )


def _differ(one: Any, other: Any, resolve: Callable[[Any], Any]) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    kinds, other_kinds = _kinds(one), _kinds(other)
    if kinds and other_kinds and not kinds & other_kinds:
        return True
    if kinds != {"object"} or other_kinds != {"object"}:
        return False
    return any(_tells_apart(name, one, other, resolve) for name in _tags(one) & _tags(other))


def _tells_apart(
    name: str, one: dict[str, Any], other: dict[str, Any], resolve: Callable[[Any], Any]
) -> bool:
    values, other_values = (_values(resolve(schema["properties"][name])) for schema in (one, other))
    return values is not None and other_values is not None and not values & other_values


def _tags(schema: dict[str, Any]) -> set[str]:
    """Returns the names of required properties that have a schema."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return set()
    return {name for name in required if isinstance(name, str) and name in properties}


def _kinds(schema: dict[str, Any]) -> set[str]:
    """Returns the schema's types; empty if it names none. An integer is a number."""
    given = schema.get("type")
    types = given if isinstance(given, list) else [given]
    return {"number" if name == "integer" else name for name in types if isinstance(name, str)}


def _values(schema: Any) -> set[str] | None:
    """Returns the only values that a schema allows, as text; None if that is not clear."""
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        return None
    return {repr(int(value) if _whole(value) else value) for value in values}


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
