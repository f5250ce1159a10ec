"""One row of a data set, as read from its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MAX_NAMES = 30
_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Header:
    """The header line of a CSV or TSV file.

    Attributes:
        where: File and line, for messages.
        delimiter: The column separator in words, such as "commas".
        names: The column names, without ignored columns.
    """

    where: str
    delimiter: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, not yet checked.

    Attributes:
        where: File and line, for messages.
        values: Values by column name; missing values are absent.
        header: The header of a CSV or TSV file, where every value is text and numbers and lists
            are parsed from it. None for formats with typed values.
    """

    where: str
    values: dict[str, Any]
    header: Header | None = None


def listed(names: Iterable[str]) -> str:
    """Column names for an error message: printable, and a bounded number of them."""
    found = list(names)
    shown = [
        name if name.isprintable() and len(name) <= _MAX_NAME else repr(name[:_MAX_NAME])
        for name in found[:_MAX_NAMES]
    ]
    more = f" and {len(found) - _MAX_NAMES} more" if len(found) > _MAX_NAMES else ""
    return (", ".join(shown) or "none") + more
