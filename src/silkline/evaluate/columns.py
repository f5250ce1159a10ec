"""Maps the column names of a data set to Silkline's fields."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from silkline.errors import ConfigError
from silkline.evaluate.row import Row, listed
from silkline.evaluate.written import parse_written

ALIASES: Mapping[str, tuple[str, ...]] = {
    "picture": ("picture", "image", "file_name", "image_path"),
    "id": ("id",),
    "prompt": ("prompt", "question"),
    "reference": ("reference", "answer"),
    "choices": ("choices",),
    "group": ("group",),
}
"""The fields, each with the column names that it is recognised by, the preferred name first.

imagefolder uses file_name, most hub data sets image, VLMEvalKit question and answer. Names match
regardless of case, of surrounding spaces, and of spaces in place of underscores.
"""

FIELDS = tuple(ALIASES)
"""The fields that a row may have, besides fields to slice by."""

_NAMES = frozenset(name for names in ALIASES.values() for name in names)
_RESERVED = frozenset({*FIELDS, *ALIASES["picture"]})
_LETTERS = string.ascii_uppercase
_GAP = re.compile(r"[\s-]+")


@dataclass(frozen=True, slots=True)
class Named:
    """The values of a row, assigned to fields.

    Attributes:
        row: The row.
        known: Values by field, as in `FIELDS`.
        columns: The data set's column names by field.
        lettered: The choices from columns A, B and so on.
        others: The remaining values by column name.
    """

    row: Row
    known: Mapping[str, Any]
    columns: Mapping[str, str]
    lettered: tuple[Any, ...]
    others: Mapping[str, Any]

    def find(self, name: str) -> Any:
        """The value of a column by its name, else by field; None if there is none."""
        column = _match(name, self.row.values)
        return self.known.get(name) if column is None else self.row.values[column]

    def column_of(self, field: str) -> str | None:
        """The column of a field, even if it is empty in this row; None if there is none."""
        if field in self.columns:
            return self.columns[field]
        names = self.row.values if self.row.header is None else self.row.header.names
        found = (_match(name, names) for name in ALIASES[field])
        return next((column for column in found if column is not None), None)

    def missing(self, field: str, expected: str) -> ConfigError:
        """Error for a field without a value; names the empty column, or all columns."""
        row, header, column = self.row, self.row.header, self.column_of(field)
        if column is not None:
            return ConfigError(
                f"{row.where} has no {field}: its column {column} is empty or of another type. "
                f"Expected {expected}."
            )
        if header is None:
            return ConfigError(
                f"{row.where} has no {field}. Expected {expected} in {_either(ALIASES[field])}; it "
                f"has {listed(row.values)}. Name another column by --column {field}=COLUMN."
            )
        return ConfigError(
            f"{header.where} has no column for the {field}: expected {_either(ALIASES[field])}. "
            f"The columns, separated by {header.delimiter}: {listed(header.names)}. Name one of "
            f"these by --column {field}=COLUMN, or check the delimiter."
        )


def name_fields(row: Row, columns: Mapping[str, str]) -> Named:
    """Assigns the values of a row to fields.

    Args:
        row: The row.
        columns: The user's column names by field; a dot selects a field of an object, or of each
            object in a list.

    Raises:
        ConfigError: The user's column does not exist, or two columns have the same name.
    """
    _check_names(row)
    found = {field: _given(row, field, path) for field, path in columns.items()}
    used = {field: path.partition(".")[0] for field, path in columns.items()}
    taken: set[str] = set()
    for field, names in ALIASES.items():
        if field in columns:
            continue
        column = next((match for name in names if (match := _match(name, row.values))), None)
        if column is not None:
            found[field], used[field] = row.values[column], column
            taken.add(column)
    letters = [] if "choices" in found else _lettered(row)
    taken.update(letters)
    others = {
        name: value
        for name, value in row.values.items()
        if name not in taken and name not in found and fold(name) not in _RESERVED
    }
    return Named(row, found, used, tuple(row.values[column] for column in letters), others)


@lru_cache(maxsize=1024)
def fold(name: str) -> str:
    """Normalises a column name: `Image Path ` becomes `image_path`."""
    return _GAP.sub("_", name.strip()).casefold()


def _match(name: str, names: Any) -> str | None:
    """The column with exactly this name, else one whose normalised name is the same."""
    if name in names:
        return name
    folded = fold(name)
    return next((one for one in names if fold(one) == folded), None)


def _check_names(row: Row) -> None:
    seen: dict[str, str] = {}
    for name in row.values:
        folded = fold(name)
        if folded in _NAMES and folded in seen:
            raise ConfigError(
                f"{row.where} has the same column twice: {seen[folded]} and {name}. Remove one."
            )
        seen[folded] = name


def _given(row: Row, field: str, path: str) -> Any:
    """The value of a column that the user named."""
    first, *rest = [path] if path in row.values else path.split(".")
    column = _match(first, row.values)
    if column is None:
        names = row.values if row.header is None else row.header.names
        where = row.where if row.header is None else row.header.where
        known = _match(first, names)
        if known is not None:
            return None  # missing in this row only
        separated = "" if row.header is None else f", separated by {row.header.delimiter}"
        raise ConfigError(
            f"{where} has no column {first}; it has {listed(names)}{separated}. Use one of these: "
            f"{field}=COLUMN."
        )
    value = row.values[column]
    if rest and row.header is not None and isinstance(value, str):
        value = written(value, row.where, column)
    for step in rest:
        value = _within(value, step)
    if value is None:
        raise ConfigError(f"{row.where}: the column {column} has no field {'.'.join(rest)}.")
    return value


def written(text: str, where: str, column: str) -> object:
    """Parses a list or object that is written as text; returns other texts unchanged.

    Raises:
        ConfigError: The text starts like a list or object but cannot be parsed.
    """
    try:
        return parse_written(text)
    except ValueError as error:
        raise ConfigError(
            f"{where}: the column {column} starts like a list or an object, but cannot be read as "
            'one. Write a JSON list such as ["red", "blue"]; a single text in brackets is '
            '["[text]"].'
        ) from error


def _within(value: object, name: str) -> Any:
    """The field of an object, or of each object in a list; None if an object lacks it."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and all(
        isinstance(entry, dict) and name in entry for entry in value
    ):
        return [entry[name] for entry in value]
    return None


def _lettered(row: Row) -> list[str]:
    """The columns A, B and so on, in order; empty if there are fewer than two."""
    matches = (_match(letter, row.values) for letter in _LETTERS)
    found = [
        column for column in itertools.takewhile(lambda one: one is not None, matches) if column
    ]
    if len(found) < 2:  # noqa: PLR2004 - nothing to choose from
        return []
    if next(matches, None) is not None:
        letter = _LETTERS[len(found)]
        raise ConfigError(
            f"{row.where} has no choice {letter}, but has a later one. Expected a value in every "
            "column from A to the last choice."
        )
    return found


def _either(names: tuple[str, ...]) -> str:
    first, *others = names
    return f"{first} (or {', '.join(others)})" if others else first
