"""One row of a data set, as its file has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MAX_NAMES = 30
_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Header:
    """The line of a CSV or TSV file that names the columns.

    Attributes:
        where: File and line, for messages.
        delimiter: What separates the columns, in words: "commas".
        names: The names, without those columns that are left out.
    """

    where: str
    delimiter: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, not yet checked.

    Attributes:
        where: File and line, for messages.
        values: Its values by column name; a missing value is left out.
        header: Of CSV and TSV, where every value is text: numbers and lists are recognised by how
            they are written. None where values have types.
    """

    where: str
    values: dict[str, Any]
    header: Header | None = None


def listed(names: Iterable[str]) -> str:
    """Column names for a message: printable and not too many."""
    found = list(names)
    shown = [
        name if name.isprintable() and len(name) <= _MAX_NAME else repr(name[:_MAX_NAME])
        for name in found[:_MAX_NAMES]
    ]
    more = f" and {len(found) - _MAX_NAMES} more" if len(found) > _MAX_NAMES else ""
    return (", ".join(shown) or "none") + more
