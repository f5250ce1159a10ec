"""Web origins: parses them from settings and normalises them as browsers send them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yarl import URL

EVERY_ORIGIN = "*"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*\\]+", re.IGNORECASE)
_EXPECTED = (
    "expected scheme://host or scheme://host:port without a path, such as "
    "https://app.example:8443, or * alone for every origin"
)


def browser_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """Normalises origins to the form of the `Origin` header: lower case, no default port.

    Raises:
        ValueError: An entry is not an origin, or `*` is not the only entry.
    """
    entries = tuple(origins)
    if entries == (EVERY_ORIGIN,):
        return entries
    return tuple(_browser_origin(origin) for origin in entries)


def _browser_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(_EXPECTED)
    try:
        return str(URL(text).origin())
    except ValueError as error:
        raise ValueError(_EXPECTED) from error
