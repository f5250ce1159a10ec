"""The keywords of JSON Schema that are accepted, and what their values must be."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any

import msgspec

from silkline.engines.grammar.numbers import Bounds
from silkline.engines.grammar.refusal import Unsupported
from silkline.engines.grammar.regex import MAX_REPEATS

ANNOTATIONS = frozenset(
    {
        "$comment",
        "$defs",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that do not restrict a value, as do all that start with `x-`."""

TYPED = {
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        }
    ),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    ),
}
"""The keywords of each type; those of `number` are also those of `integer`."""

COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type"})

KEYWORDS = ANNOTATIONS | COMBINING | frozenset().union(*TYPED.values())
"""All keywords that are accepted."""

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

Path = tuple[str, ...]
"""The keys from the root of a schema to a subschema."""


def restricting(schema: dict[str, Any], path: Path) -> frozenset[str]:
    """Returns the keywords that restrict the value.

    Raises:
        Unsupported: A keyword is not supported.
    """
    for name in schema:
        if name not in KEYWORDS and not name.startswith("x-"):
            raise unsupported(name, path)
    return frozenset(name for name in schema if name in KEYWORDS - ANNOTATIONS)


def refuse_siblings(name: str, others: Collection[str], path: Path) -> None:
    """Refuses other keywords beside one that is supported only alone.

    Raises:
        Unsupported: There are others.
    """
    if others:
        raise Unsupported(
            f"has the keyword `{min(others)[:64]}` beside `{name}` {where(path)}, which is not "
            "supported. Keep one of them."
        )


def unsupported(keyword: str, path: Path) -> Unsupported:
    """Returns the refusal of a keyword."""
    return Unsupported(
        f"has the keyword `{keyword[:64]}` {where(path)}, which is not supported. Remove it."
    )


def where(path: Path) -> str:
    """Returns the words for a place in the schema."""
    return f"at {'.'.join(path)[:128]}" if path else "at its root"


def types_of(schema: dict[str, Any], path: Path) -> list[str]:
    """Returns the types that a value may have.

    Raises:
        Unsupported: `type` is not a type, or a list of types.
    """
    given = schema.get("type", list(TYPES))
    types = [given] if isinstance(given, str) else given
    if not are_strings(types) or not types or any(name not in TYPES for name in types):
        raise Unsupported(
            f"has {where((*path, 'type'))} something that is not a type. Use {', '.join(TYPES)}."
        )
    return list(dict.fromkeys(types))


def are_strings(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def count_bounds(
    schema: dict[str, Any], low_name: str, high_name: str, path: Path
) -> tuple[int, int | None]:
    """Returns a minimum and a maximum number of characters, items or properties.

    Raises:
        Unsupported: One is not an integer, or too large, or the maximum is below the minimum.
    """
    low, high = schema.get(low_name, 0), schema.get(high_name)
    for name, value in ((low_name, low), (high_name, high)):
        if value is None and name not in schema:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise Unsupported(f"has {where((*path, name))} something that is not an integer.")
        if not 0 <= value <= MAX_REPEATS:
            raise Unsupported(f"has {where((*path, name))} a number outside 0 to {MAX_REPEATS}.")
    low, high = int(low), None if high is None else int(high)
    if high is not None and high < low:
        raise Unsupported(
            f"has {where((*path, high_name))} a number below `{low_name}`. Correct it."
        )
    return low, high


def number_bounds(schema: dict[str, Any], path: Path) -> Bounds:
    """Returns the bounds of a number.

    Raises:
        Unsupported: One is not a number.
    """
    low, above = _bound(schema, "minimum", "exclusiveMinimum", max, path)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", min, path)
    return Bounds(low, high, above, below)


def _bound(
    schema: dict[str, Any],
    name: str,
    strict_name: str,
    tighter: Callable[[Decimal, Decimal], Decimal],
    path: Path,
) -> tuple[Decimal | None, bool]:
    """Returns a bound, and whether it is itself outside."""
    found = {}
    for key in (name, strict_name):
        value = schema.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unsupported(f"has {where((*path, key))} something that is not a number.")
        if key in schema:
            found[key] = Decimal(str(value))
    if not found:
        return None, False
    loose, strict = found.get(name), found.get(strict_name)
    if loose is None or strict is None:
        return loose if strict is None else strict, loose is None
    value = tighter(loose, strict)
    return value, value == strict


def encode(value: Any) -> str:
    """Returns a value as JSON."""
    return msgspec.json.encode(value).decode()


def same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_of(value: Any, name: str) -> bool:
    """Whether a value has a type of JSON Schema."""
    if isinstance(value, bool | None):
        return name == ("null" if value is None else "boolean")
    if isinstance(value, int | float):
        return name == "number" or (name == "integer" and value == int(value))
    if isinstance(value, str):
        return name == "string"
    return name == ("array" if isinstance(value, list) else "object")
