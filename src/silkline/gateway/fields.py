"""Sorts the fields of a JSON body before its type is checked.

A field of the declared type goes on to the check. Null is the same as absent, and a number without
a fraction is a whole number, however it is written (16, 16.0, 1.6e1). A field that may change the
answer but is not supported is refused by its name, except at the values without effect. All others
are left out, and the unknown ones of them are named.

A kind may name, in `NEUTRAL` and `INSTEAD`, fields that only its route does not support; see
`silkline.gateway.known_fields` for those of all routes.
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

T = TypeVar("T", bound=msgspec.Struct)

MAX_IGNORED = 16
"""Most unknown fields of a request that are named."""

_MAX_NAME_CHARS = 64
_MAX_PATH_CHARS = 300
_INDEX = re.compile(r"(?<=\.)\d+\.")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def convert(body: object, kind: type[T]) -> tuple[T, tuple[str, ...]]:
    """A decoded JSON body as a `kind`, and the paths of its unknown fields.

    Each unknown field is named once, however many messages have it: `messages.3.mood`.

    Raises:
        InvalidRequest: A field is not supported, or a number has a fraction where none may be.
        msgspec.ValidationError: The body is not of the type.
    """
    sorter = _Sorter(kind)
    return msgspec.convert(sorter.value(body, _shape(kind), ""), kind), tuple(
        sorter.ignored.values()
    )


def header_value(paths: tuple[str, ...]) -> str:
    """The names of unknown fields for a header: sorted, without indices, only `A-Za-z0-9_.-`."""
    names = (_UNSAFE.sub("_", _without_indices(path))[:_MAX_NAME_CHARS] for path in paths)
    return ",".join(sorted(names))


def unsupported(path: str, advice: str = "Leave it out.") -> InvalidRequest:
    """The error about a field that is not supported."""
    return InvalidRequest(f"The field {path} is not supported. {advice}", param=path)


@dataclass(slots=True)
class _Shape:
    """What of the values of a type has to be looked at.

    Attributes:
        whole: Whether a number has to be a whole one.
        items: The shape of a list's items, where there is something to look at.
        max_items: Most items of that list; a longer one is refused by its type.
        tag_field: The field that tells the objects apart.
        objects: The fields of each object, by its tag; None where there is only one.
    """

    whole: bool = False
    items: _Shape | None = None
    max_items: float = math.inf
    tag_field: str | None = None
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
            case inspect.StructType(tag_field=tag_field, tag=tag, fields=fields):
                shape.tag_field = tag_field
                shape.objects[tag] = {one.encode_name: _shape_of(one.type) for one in fields}
    return shape if shape.whole or shape.items or shape.objects else None


class _Sorter:
    """Sorts the fields of one body; `ignored` has the paths of its unknown ones."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._neutral: Mapping[str, tuple[object, ...]] = getattr(kind, "NEUTRAL", {})
        self._instead: Mapping[str, str] = getattr(kind, "INSTEAD", {})
        self.ignored: dict[str, str] = {}

    def value(self, value: Any, shape: _Shape, path: str) -> Any:
        """The value of a field without what its type does not have; `path` ends with a dot."""
        if isinstance(value, dict):
            return self._object(value, shape, path)
        items = shape.items
        if items is not None and isinstance(value, list) and len(value) <= shape.max_items:
            return [self.value(one, items, f"{path}{i}.") for i, one in enumerate(value)]
        if isinstance(value, float) and shape.whole:
            if not value.is_integer():
                name = path.removesuffix(".")
                raise InvalidRequest(
                    f"The field {name} is wrong: it must be a whole number.", param=name
                )
            return int(value)
        return value

    def _object(self, value: dict[str, Any], shape: _Shape, path: str) -> dict[str, Any]:
        tag = value.get(shape.tag_field) if shape.tag_field else None
        fields = shape.objects.get(tag) if tag is None or isinstance(tag, str) else None
        if fields is None:
            return value  # its type refuses it
        taken = {}
        for name, one in value.items():
            if one is None:
                continue
            if name in fields:
                inner = fields[name]
                taken[name] = one if inner is None else self.value(one, inner, f"{path}{name}.")
            elif name == shape.tag_field:
                taken[name] = one
            else:
                self._other(name, one, path)
        return taken

    def _other(self, name: str, value: object, path: str) -> None:
        """Refuses a field that the type does not have, or leaves it out."""
        neutral = self._neutral.get(name, known_fields.NEUTRAL.get(name))
        instead = self._instead.get(name, known_fields.INSTEAD.get(name))
        is_unknown = neutral is None and instead is None
        if is_unknown and len(self.ignored) >= MAX_IGNORED:
            return  # a million names cost little
        place = _without_indices(path + name)
        if not known_fields.WITHOUT_EFFECT.isdisjoint((name, place)):
            return
        if is_unknown:
            self.ignored.setdefault(place, (path + name)[:_MAX_PATH_CHARS])
        elif instead is not None:
            raise unsupported(path + name, f"Send {instead}.")
        elif neutral is not None and not any(_is_same(value, one) for one in neutral):
            values = " or ".join(map(json.dumps, neutral)) or "null"
            raise unsupported(path + name, f"Leave it out, or send {values}.")


def _is_same(value: object, other: object) -> bool:
    """Whether two JSON values are the same; in Python, True is 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _without_indices(path: str) -> str:
    return _INDEX.sub("", path)
