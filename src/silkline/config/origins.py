"""Origins of web pages, as settings name them and as browsers do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yarl import URL

EVERY_ORIGIN = "*"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*\\]+", re.IGNORECASE)
_EXPECTED = (
    "an origin is scheme://host, or scheme://host:port, such as https://app.example:8443, without "
    "a path; * stands for every origin, and alone"
)


def browser_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """Origins in the form that the header Origin has: lower case, without the default port.

    Raises:
        ValueError: One is not an origin, or `*` does not stand alone.
    """
    given = tuple(origins)
    return given if given == (EVERY_ORIGIN,) else tuple(_browser_origin(one) for one in given)


def _browser_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(_EXPECTED)
    try:
        return str(URL(text).origin())
    except ValueError as error:
        raise ValueError(_EXPECTED) from error
