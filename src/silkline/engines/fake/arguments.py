"""Writes arguments that match a JSON Schema, for the fake engine's tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.core import Tool
from silkline.errors import InvalidRequest

_NOTES = frozenset(
    {"title", "description", "default", "examples", "$schema", "$defs", "definitions"}
)
_KNOWN = _NOTES | {
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "anyOf",
    "oneOf",
    "$ref",
    "minimum",
    "minLength",
}
_MAX_DEPTH = 16


def arguments_for(tool: Tool) -> str:
    """Returns arguments for a tool as JSON text.

    Raises:
        InvalidRequest: The tool is strict, and its schema has a keyword that is not supported, or
            is nested too deeply.
    """
    root = msgspec.json.decode(tool.parameters) if tool.parameters else {"type": "object"}
    value = _Writer(root, tool).value(root, 0)
    return msgspec.json.encode(value if isinstance(value, dict) else {}).decode()


class _Writer:
    """Makes values for one schema and the schemas inside it."""

    def __init__(self, root: Mapping[str, Any], tool: Tool) -> None:
        self._root = root
        self._tool = tool

    def value(self, schema: Any, depth: int) -> Any:
        """Returns a value that matches the schema."""
        if not isinstance(schema, dict) or depth > _MAX_DEPTH + 1:
            return None
        unknown = schema.keys() - _KNOWN
        if self._tool.strict and (unknown or depth > _MAX_DEPTH):
            raise InvalidRequest(
                f"The fake engine cannot write arguments for the tool {self._tool.name}: its "
                "schema is too deep, or has keywords besides those that strict tools usually have. "
                "Leave out strict.",
                param="tools",
            )
        if "$ref" in schema:
            return self.value(self._referred(str(schema["$ref"])), depth + 1)
        if "const" in schema or schema.get("enum"):
            return schema["const"] if "const" in schema else schema["enum"][0]
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        return (
            self.value(alternatives[0], depth + 1) if alternatives else self._of_type(schema, depth)
        )

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            properties = schema.get("properties") or {}
            return {name: self.value(inner, depth + 1) for name, inner in properties.items()}
        if kind == "array":
            count = schema.get("minItems", 1)
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "string":
            return "lamp".ljust(schema.get("minLength", 0), "p")
        numbers = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 0.5)}
        return numbers.get(kind, True if kind == "boolean" else None)

    def _referred(self, reference: str) -> Any:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(name, {}) if name and isinstance(found, dict) else found
        return found
