"""Writes settings as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def toml_of(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Returns sections as the text of a settings file; values that are None are left out."""
    return "\n".join(f"[{name}]\n{_lines(values)}" for name, values in sections.items() if values)


def _lines(values: Mapping[str, object]) -> str:
    return "".join(
        f"{name} = {_value(value)}\n" for name, value in values.items() if value is not None
    )


def _value(value: object) -> str:
    """A value in TOML, whose texts, numbers and booleans are those of JSON."""
    if isinstance(value, Mapping):
        inside = (f"{_value(name)} = {_value(one)}" for name, one in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
