"""Filters the fields of a JSON body before its type is checked.

Fields of the declared type are kept. Null means absent, and a number without a fraction is an
integer in any notation (16, 16.0, 1.6e1). The others are returned: unknown ones, those without
effect here, and those that may change the answer but are not supported, unless their value has no
effect. The service passes them on to a remote server, ignores them or refuses them. Below the top
level nothing is passed on, so that there fields without effect are dropped, and an unsupported
field raises an error.

A kind may list in `NEUTRAL` and `INSTEAD` fields that only its own route does not support; see
`silkline.gateway.known_fields` for those of all routes. A type of a tagged union with `UNTAGGED =
True` is also the type of objects without a tag.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from silkline.errors import InvalidRequest
from silkline.gateway import known_fields
from silkline.service.other_fields import OtherField

T = TypeVar("T", bound=msgspec.Struct)

MAX_UNKNOWN = 64
"""Maximum number of different unknown fields of a request."""

_MAX_NAME_CHARS = 64
_MAX_PATH_CHARS = 300
_INDEX = re.compile(r"(?<=\.)\d+\.")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def convert(body: object, kind: type[T]) -> tuple[T, tuple[OtherField, ...]]:
    """Converts a decoded JSON body to a `kind`; also returns the fields that the type lacks.

    Each unknown field is reported once, with its first path: `messages.3.mood`.

    Raises:
        InvalidRequest: A field below the top level is not supported, an integer has a fraction, or
            there are too many unknown fields.
        msgspec.ValidationError: The body does not match the type.
    """
    field_filter = _FieldFilter(kind)
    return msgspec.convert(field_filter.value(body, _shape(kind), ""), kind), tuple(
        field_filter.others.values()
    )


def header_value(paths: tuple[str, ...]) -> str:
    """Unknown field names as a header value: sorted, without indices, only `A-Za-z0-9_.-`."""
    names = {_UNSAFE.sub("_", _without_indices(path))[:_MAX_NAME_CHARS] for path in paths}
    return ",".join(sorted(names))


def unsupported(path: str, advice: str) -> InvalidRequest:
    """The error for an unsupported field."""
    return InvalidRequest(f"The field {path} is not supported. {advice}", param=path)


@dataclass(slots=True)
class _Shape:
    """The parts of a type that the filter has to visit.

    Attributes:
        whole: Whether a number must be an integer.
        items: The shape of a list's items; None if they need no visit.
        max_items: Maximum length of that list; the type check refuses a longer one.
        tag_field: The field that holds an object's tag.
        default_tag: The tag of an object that has none; None if it must have one.
        objects: The fields of each object by its tag; the tag is None if there is only one object.
    """

    whole: bool = False
    items: _Shape | None = None
    max_items: float = math.inf
    tag_field: str | None = None
    default_tag: object = None
    objects: dict[object, dict[str, _Shape | None]] = field(default_factory=dict)


@cache
def _shape(kind: type[msgspec.Struct]) -> _Shape:
    return _shape_of(inspect.type_info(kind)) or _Shape()


def _shape_of(info: inspect.Type) -> _Shape | None:
    shape = _Shape()
    for member in info.types if isinstance(info, inspect.UnionType) else (info,):
        match member:
            case inspect.IntType():
                shape.whole = True
            case inspect.ListType(item_type=item, max_length=maximum):
                shape.items = _shape_of(item)
                shape.max_items = math.inf if maximum is None else maximum
            case inspect.StructType(cls=kind, tag_field=tag_field, tag=tag, fields=fields):
                shape.tag_field = tag_field
                if getattr(kind, "UNTAGGED", False):
                    shape.default_tag = tag
                shape.objects[tag] = {item.encode_name: _shape_of(item.type) for item in fields}
    return shape if shape.whole or shape.items or shape.objects else None


class _FieldFilter:
    """Filters the fields of one body; `others` collects those that its type lacks."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._neutral: Mapping[str, tuple[object, ...]] = getattr(kind, "NEUTRAL", {})
        self._instead: Mapping[str, str] = getattr(kind, "INSTEAD", {})
        self._unknown = 0
        self.others: dict[str, OtherField] = {}

    def value(self, value: Any, shape: _Shape, path: str) -> Any:
        """Returns a value without the fields that its type lacks; `path` ends with a dot."""
        if isinstance(value, dict):
            return self._object(value, shape, path)
        items = shape.items
        if items is not None and isinstance(value, list) and len(value) <= shape.max_items:
            return [self.value(item, items, f"{path}{i}.") for i, item in enumerate(value)]
        if isinstance(value, float) and shape.whole:
            if not value.is_integer():
                name = path.removesuffix(".")
                raise InvalidRequest(
                    f"The field {name} is wrong: it must be an integer.", param=name
                )
            return int(value)
        return value

    def _object(self, value: dict[str, Any], shape: _Shape, path: str) -> dict[str, Any]:
        if shape.tag_field and shape.default_tag and value.get(shape.tag_field) is None:
            value = {**value, shape.tag_field: shape.default_tag}
        tag = value.get(shape.tag_field) if shape.tag_field else None
        fields = shape.objects.get(tag) if tag is None or isinstance(tag, str) else None
        if fields is None:
            return value  # the type check refuses it
        kept = {}
        for name, item in value.items():
            if item is None:
                continue
            if name in fields:
                inner = fields[name]
                kept[name] = item if inner is None else self.value(item, inner, f"{path}{name}.")
            elif name == shape.tag_field:
                kept[name] = item
            else:
                self._check_other(name, item, path)
        return kept

    def _check_other(self, name: str, value: object, path: str) -> None:
        """Handles a field that the type lacks: raises, notes it, or drops it."""
        neutral = self._neutral.get(name, known_fields.NEUTRAL.get(name))
        instead = self._instead.get(name, known_fields.INSTEAD.get(name))
        is_unknown = neutral is None and instead is None
        location = _without_indices(path + name)
        if not known_fields.WITHOUT_EFFECT.isdisjoint((name, location)):
            if not path:
                self.others[name] = OtherField(name, value, silent=True)
            return
        refusal = None
        if instead is not None:
            refusal = unsupported(path + name, f"Send {instead}.")
        elif neutral is not None:
            if any(_is_same(value, no_op) for no_op in neutral):
                return
            values = " or ".join(map(json.dumps, neutral)) or "null"
            refusal = unsupported(path + name, f"Leave it out, or send {values}.")
        if path and refusal is not None:
            raise refusal
        if is_unknown and location not in self.others:
            self._unknown += 1
            if self._unknown > MAX_UNKNOWN:
                raise InvalidRequest(
                    f"The body has more than {MAX_UNKNOWN} unknown fields. Leave them out.",
                    param=(path + name)[:_MAX_PATH_CHARS],
                )
        self.others.setdefault(
            location,
            OtherField(
                (path + name)[:_MAX_PATH_CHARS],
                None if path or len(name) > _MAX_PATH_CHARS else value,
                refusal,
            ),
        )


def _is_same(value: object, other: object) -> bool:
    """Whether two JSON values are equal; in Python, True equals 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _without_indices(path: str) -> str:
    return _INDEX.sub("", path)
