"""Turns a JSON Schema into a grammar, or refuses it by the name of what cannot be enforced.

The grammar allows only JSON that matches the schema, but not all of it: properties come in the
schema's order, an object with `properties` has no others, and white space is short. The table of
keywords is in docs/structured-output.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from silkline.engines.grammar import numbers, strings
from silkline.engines.grammar.check import MAX_NODES
from silkline.engines.grammar.json_values import (
    ANY,
    COLON,
    COMMON,
    KEY,
    VALUES,
    array,
    fields,
    mapping,
)
from silkline.engines.grammar.keywords import (
    TYPED,
    Path,
    are_strings,
    count_bounds,
    encode,
    is_of,
    number_bounds,
    refuse_siblings,
    restricting,
    same,
    types_of,
    unsupported,
    where,
)
from silkline.engines.grammar.nodes import (
    Grammar,
    Literal,
    Node,
    Ref,
    choice,
    literals,
    series,
    walk,
)
from silkline.engines.grammar.overlap import MAX_COMPARED, exclusive
from silkline.engines.grammar.refusal import Unsupported

_MAX_DEPTH = 96
"""Maximum keys from the root to a subschema."""


def any_object() -> Grammar:
    """Returns the grammar of any JSON object."""
    return _used({"root": Ref("object"), **VALUES, **COMMON}, frozenset(COMMON))


def from_schema(text: str) -> Grammar:
    """Returns the grammar of the values that a schema allows.

    Args:
        text: The schema as JSON.

    Raises:
        Unsupported: The schema is invalid, or has something that cannot be enforced.
    """
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unsupported("is not valid JSON. Correct it.") from error
    except RecursionError as error:
        raise Unsupported("is nested too deeply. Use `$ref`.") from error
    return _Translation(schema).grammar()


def _used(rules: Mapping[str, Node], tokens: frozenset[str]) -> Grammar:
    """Returns a grammar without the rules that its root does not need."""
    wanted, open_rules = {"root": rules["root"]}, [rules["root"]]
    while open_rules:
        for node in walk(open_rules.pop()):
            if isinstance(node, Ref) and node.name not in wanted:
                wanted[node.name] = rules[node.name]
                open_rules.append(rules[node.name])
    return Grammar(wanted, tokens=tokens & wanted.keys())


class _Translation:
    """The translation of one schema."""

    def __init__(self, schema: object) -> None:
        self._schema = schema
        self._rules: dict[str, Node] = {**VALUES, **COMMON}
        self._tokens = set(COMMON)
        self._by_node: dict[Node, str] = {}
        self._targets: dict[str, str] = {}
        self._pending: list[tuple[str, Any, str]] = []
        self._nodes = 0

    def grammar(self) -> Grammar:
        self._pending.append(("root", self._schema, "#"))
        while self._pending:
            name, schema, target = self._pending.pop()
            node = self._node(schema, ())
            if node is None:
                raise Unsupported(f"allows no value at {target}. Correct it.")
            self._rules[name] = node
        return _used(self._rules, frozenset(self._tokens))

    def _node(self, schema: Any, path: Path) -> Node | None:
        """Returns what a schema allows; None if it allows nothing."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unsupported(f"has more than {MAX_NODES} subschemas. Make it smaller.")
        if len(path) > _MAX_DEPTH:
            raise Unsupported("is nested too deeply. Use `$ref`.")
        if schema is True:
            return ANY
        if schema is False:
            return None
        if not isinstance(schema, dict):
            raise Unsupported(f"has {where(path)} something that is not a schema. Send an object.")
        keywords = restricting(schema, path)
        if not keywords:
            return ANY
        for name in ("$ref", "allOf", "anyOf", "oneOf"):
            if name in keywords:
                refuse_siblings(name, keywords - {name}, path)
                return self._combined(name, schema[name], (*path, name))
        if "const" in keywords or "enum" in keywords:
            return self._constants(schema, keywords, path)
        return self._typed(schema, keywords, path)

    def _combined(self, name: str, value: Any, path: Path) -> Node | None:
        if name == "$ref":
            return self._reference(value, path)
        if not isinstance(value, list) or not value:
            raise Unsupported(f"has {where(path)} no list of schemas. Correct it.")
        if name == "allOf" and len(value) > 1:
            raise Unsupported(
                f"has {where(path)} several schemas, which is not supported. Write them as one."
            )
        if name == "oneOf" and not exclusive(value, self._resolved):
            raise Unsupported(
                f"has {where(path)} schemas that may allow the same value, which is not supported. "
                "Give each another `type`, or a required property with another `const` (at most "
                f"{MAX_COMPARED} schemas); or use `anyOf`."
            )
        nodes = (self._node(item, (*path, str(index))) for index, item in enumerate(value))
        found = [node for node in nodes if node is not None]
        return choice(*found) if found else None

    def _reference(self, target: Any, path: Path) -> Node:
        schema = self._target(target, path)
        name = self._targets.get(target)
        if name is None:
            name = self._targets[target] = f"ref{len(self._targets)}"
            self._pending.append((name, schema, target))
        return Ref(name)

    def _resolved(self, schema: Any) -> Any:
        """Follows references from a schema; gives up after a few."""
        for _ in range(8):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._target(schema["$ref"], ("$ref",))
        return schema

    def _target(self, target: Any, path: Path) -> Any:
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise Unsupported(
                f"refers {where(path)} to something outside itself. Put it under `$defs`, and "
                "refer to it as `#/$defs/...`."
            )
        found: Any = self._schema
        for part in target.split("/")[1:]:
            key = part.replace("%25", "%").replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise Unsupported(f"refers {where(path)} to a schema that is missing. Add it.")
        return found

    def _constants(
        self, schema: dict[str, Any], keywords: frozenset[str], path: Path
    ) -> Node | None:
        values = schema.get("enum", [schema.get("const")])
        refuse_siblings("enum", keywords - {"const", "enum", "type"}, path)
        if not isinstance(values, list) or not values:
            raise Unsupported(f"has {where((*path, 'enum'))} no list of values. Correct it.")
        if "const" in keywords:
            values = [value for value in values if same(value, schema["const"])]
        types = types_of(schema, path)
        texts = [encode(value) for value in values if any(is_of(value, name) for name in types)]
        return self._token(literals(texts)) if texts else None

    def _typed(self, schema: dict[str, Any], keywords: frozenset[str], path: Path) -> Node | None:
        types = types_of(schema, path)
        if "type" not in keywords:
            # Without a type the keywords of a type restrict only values of that type.
            types = [name for name in TYPED if keywords & TYPED[name]]
        if "number" in types and "integer" in types:
            types.remove("integer")
        makers: dict[str, Callable[[dict[str, Any], Path], Node | None]] = {
            "null": lambda _schema, _path: Ref("null"),
            "boolean": lambda _schema, _path: Ref("boolean"),
            "integer": self._number,
            "number": self._number,
            "string": self._string,
            "array": self._array,
            "object": self._object,
        }
        found = []
        for name in types:
            kept = {"type": name, **{key: schema[key] for key in schema if key != "type"}}
            node = makers[name](kept, path)
            if node is not None:
                found.append(self._rule(node) if name in ("array", "object") else node)
        return choice(*found) if found else None

    def _number(self, schema: dict[str, Any], path: Path) -> Node:
        if schema.get("multipleOf", 1) != 1:
            raise unsupported("multipleOf", path)
        whole = schema["type"] == "integer" or "multipleOf" in schema
        bounds = number_bounds(schema, path)
        if bounds == numbers.Bounds():
            return Ref("integer" if whole else "number")
        return self._token((numbers.integer if whole else numbers.number)(bounds))

    def _string(self, schema: dict[str, Any], path: Path) -> Node:
        low, high = count_bounds(schema, "minLength", "maxLength", path)
        lengths = "minLength" in schema or "maxLength" in schema
        pattern, name = schema.get("pattern"), schema.get("format")
        if "pattern" in schema:
            if not isinstance(pattern, str):
                raise Unsupported(f"has {where((*path, 'pattern'))} no text. Correct it.")
            refuse_siblings("pattern", {"format"} if name is not None else set(), path)
            if lengths:
                refuse_siblings("pattern", {"minLength or maxLength"}, path)
            try:
                return self._token(strings.matching(pattern))
            except Unsupported as error:
                raise Unsupported(
                    f"has {where((*path, 'pattern'))} a pattern that {error}"
                ) from None
        if name is not None:
            if not isinstance(name, str) or name not in strings.FORMATS:
                raise Unsupported(
                    f"has {where((*path, 'format'))} a format that is not supported. Use one of "
                    f"{', '.join(strings.FORMATS)}; or a `pattern`."
                )
            if lengths:
                refuse_siblings("format", {"minLength or maxLength"}, path)
            return self._token(strings.formatted(name))
        return self._token(strings.string(low, high)) if lengths else Ref("string")

    def _array(self, schema: dict[str, Any], path: Path) -> Node | None:
        low, high = count_bounds(schema, "minItems", "maxItems", path)
        first = schema.get("prefixItems", [])
        if not isinstance(first, list):
            raise Unsupported(f"has {where((*path, 'prefixItems'))} no list. Correct it.")
        nodes = []
        for index, item in enumerate(first[:high]):
            node = self._node(item, (*path, "prefixItems", str(index)))
            if node is None:
                high = index
                break
            nodes.append(node)
        more = None
        if len(nodes) == len(first) and (high is None or high > len(first)):
            more = self._node(schema.get("items", True), (*path, "items"))
        if more is None or (first and "items" not in schema and low <= len(first)):
            high = len(nodes)
        if high is not None and high < low:
            return None
        return array(nodes, more or ANY, low, high)

    def _object(self, schema: dict[str, Any], path: Path) -> Node | None:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict) or not are_strings(required):
            raise Unsupported(f"has {where(path)} wrong `properties` or `required`. Correct them.")
        low, high = count_bounds(schema, "minProperties", "maxProperties", path)
        others = schema.get("additionalProperties", True)
        if not properties and not required:
            return self._map(schema, low, high, path)
        for name in ("patternProperties", "propertyNames"):
            if name in schema:
                refuse_siblings(name, {"properties or required"}, path)
        pairs = []
        for name in (*properties, *(name for name in required if name not in properties)):
            inner = (*path, "properties", name) if name in properties else (*path, name)
            node = self._node(properties.get(name, others), inner)
            if node is not None:
                key = Literal(encode(name))
                pairs.append((series(key, COLON, node), name in required))
            elif name in required:
                return None
        needed = sum(wanted for _, wanted in pairs)
        if low > needed or (high is not None and high < len(pairs)):
            raise unsupported("minProperties" if low > needed else "maxProperties", path)
        return fields(pairs, self._rule)

    def _map(self, schema: dict[str, Any], low: int, high: int | None, path: Path) -> Node | None:
        """Returns an object with any keys, or with keys that match a pattern."""
        if low > 1:  # a key that comes twice counts once
            raise unsupported("minProperties", path)
        key, value = self._key(schema, path)
        node = self._node(*value)
        if node is None or key is None:
            return None if low else Literal("{}")
        return mapping(series(key, COLON, node), low, high)

    def _key(self, schema: dict[str, Any], path: Path) -> tuple[Node | None, tuple[Any, Path]]:
        """Returns the keys of an object without named ones, and the schema of their values."""
        patterns, names = schema.get("patternProperties"), schema.get("propertyNames")
        others = schema.get("additionalProperties", True), (*path, "additionalProperties")
        if patterns:
            if names is not None:
                refuse_siblings("patternProperties", {"propertyNames"}, path)
            if not isinstance(patterns, dict) or len(patterns) > 1:
                raise Unsupported(
                    f"has {where((*path, 'patternProperties'))} several patterns, which is not "
                    "supported. Use one."
                )
            pattern, value = next(iter(patterns.items()))
            inner = (*path, "patternProperties", pattern)
            return self._string({"pattern": pattern}, inner), (value, inner)
        if names is None:
            return KEY, others
        inner = (*path, "propertyNames")
        if names is True:
            return KEY, others
        if isinstance(names, dict):
            if "string" not in types_of(names, inner):
                return None, others
            names = {**names, "type": "string"}
        return self._node(names, inner), others

    def _token(self, node: Node) -> Node:
        """Makes a rule of a node that is a word of the language."""
        found = self._rule(node)
        if isinstance(found, Ref):
            self._tokens.add(found.name)
        return found

    def _rule(self, node: Node) -> Node:
        """Makes a rule of a node; the same rule for equal nodes."""
        name = self._by_node.get(node)
        if name is None:
            name = self._by_node[node] = f"rule{len(self._by_node)}"
            self._rules[name] = node
        return Ref(name)
