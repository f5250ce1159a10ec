"""How long an origin's response may be reused: RFC 9111 for a private cache.

A cached response serves only one tenant, so `private` and `s-maxage` are ignored.
https://www.rfc-editor.org/rfc/rfc9111
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

_SEPARATOR = re.compile("[,;]")
_DIGITS = re.compile(r"[0-9]+")
_EXPLICIT_ONLY = frozenset({302, 303, 307})


class Headers(Protocol):
    """The header fields of a response, with case-insensitive names."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """All values of a field, in order."""


def fresh_seconds(status: int, headers: Headers, default: float) -> float:
    """Seconds from the request for which a response is fresh; 0 if it must not be cached.

    A response whose freshness cannot be parsed counts as stale, as section 4.2.1 requires.

    Args:
        status: The response's status, 200 or a redirect.
        headers: The response's headers.
        default: Seconds to use when the origin states no lifetime. Redirects with 302, 303 or 307
            are not cached then (section 4.2.2), since they may lead elsewhere the next time.
    """
    directives = _directives(_members(headers, "Cache-Control"))
    if {"no-store", "no-cache"} & directives.keys() or "*" in _members(headers, "Vary"):
        return 0.0
    if "max-age" in directives:
        lifetime = _seconds(directives["max-age"])
    elif expires := headers.getall("Expires", []):
        lifetime = _until(expires[0], headers.getall("Date", []))
    else:
        lifetime = 0.0 if status in _EXPLICIT_ONLY else default
    ages = _members(headers, "Age")
    return max(0.0, lifetime - (_seconds(ages[0]) if ages else 0.0))


def _members(headers: Headers, name: str) -> list[str]:
    """The members of a list field; a semicolon separates them too.

    A comma within quotes also splits a member. That is safe: the parts are neither a number nor a
    directive that is looked for, or else one that forbids caching.
    """
    text = ",".join(headers.getall(name, []))
    return [member.strip() for member in _SEPARATOR.split(text)]


def _directives(members: list[str]) -> Mapping[str, str]:
    """Directives by lower-case name; of duplicates the first counts, section 4.2.1."""
    directives: dict[str, str] = {}
    for member in members:
        name, _, value = member.partition("=")
        directives.setdefault(name.strip().lower(), value.strip().strip('"'))
    return directives


def _seconds(text: str) -> float:
    return float(text) if _DIGITS.fullmatch(text) else 0.0


def _until(expires: str, dates: list[str]) -> float:
    """Seconds until `Expires`; an invalid date counts as already expired, section 5.3."""
    end, begin = _time(expires), _time(dates[0]) if dates else datetime.now(UTC)
    return 0.0 if end is None or begin is None else (end - begin).total_seconds()


def _time(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or an offset out of range
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
