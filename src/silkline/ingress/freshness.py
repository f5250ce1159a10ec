"""How long an origin's answer may be used again: RFC 9111 as a private cache reads it.

What is kept is kept for one tenant, so `private` forbids nothing and `s-maxage` says nothing.
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
    """The fields of a response, by names of any case."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """All values of a field, in their order."""


def fresh_seconds(status: int, headers: Headers, unsaid: float) -> float:
    """Seconds from the request for which an answer is fresh; 0 for one that is not to be kept.

    What cannot be read counts as stale, as section 4.2.1 wants.

    Args:
        status: Of the answer, 200 or a redirect.
        headers: Of the answer.
        unsaid: What holds where the origin says nothing. A redirect by 302, 303 or 307 is not kept
            then (section 4.2.2), since it may lead elsewhere the next time.
    """
    directives = _directives(_members(headers, "Cache-Control"))
    if {"no-store", "no-cache"} & directives.keys() or "*" in _members(headers, "Vary"):
        return 0.0
    if "max-age" in directives:
        lifetime = _seconds(directives["max-age"])
    elif expires := headers.getall("Expires", []):
        lifetime = _until(expires[0], headers.getall("Date", []))
    else:
        lifetime = 0.0 if status in _EXPLICIT_ONLY else unsaid
    ages = _members(headers, "Age")
    return max(0.0, lifetime - (_seconds(ages[0]) if ages else 0.0))


def _members(headers: Headers, name: str) -> list[str]:
    """The members of a list, also where they are parted wrongly.

    A comma within quotes is taken for the end of a member too: what remains of it is no number and
    no name that is looked for, or one that forbids.
    """
    text = ",".join(headers.getall(name, []))
    return [member.strip() for member in _SEPARATOR.split(text)]


def _directives(members: list[str]) -> Mapping[str, str]:
    """Directives by their names in lower case; of several the first, section 4.2.1."""
    directives: dict[str, str] = {}
    for member in members:
        name, _, value = member.partition("=")
        directives.setdefault(name.strip().lower(), value.strip().strip('"'))
    return directives


def _seconds(text: str) -> float:
    return float(text) if _DIGITS.fullmatch(text) else 0.0


def _until(expires: str, dates: list[str]) -> float:
    """Section 5.3: until a time that is no date, it has been over for long."""
    end, begin = _time(expires), _time(dates[0]) if dates else datetime.now(UTC)
    return 0.0 if end is None or begin is None else (end - begin).total_seconds()


def _time(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or an offset beyond all bounds
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
