"""What to find in the request history, from the parameters of a URL."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from silkline.errors import InvalidRequest

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
SLOW_SECONDS = 1.0
"""What `slow` without a value means where no `slo` is set."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Query:
    """Filters, which all must hold; a filter that is None or empty always does.

    Attributes:
        id: The id of the request, or of its answer.
        slow: Minimum seconds of the request.
        error: The code of the error that ended it.
        failed: Whether an error ended it.
        tenant: Its tenant.
        model: The model's name, with or without its revision.
        since: Unix time at which it arrived, at the earliest.
        before: Only requests before this cursor.
        limit: Maximum requests.
    """

    id: str = ""
    slow: float | None = None
    error: str = ""
    failed: bool = False
    tenant: str | None = None
    model: str = ""
    since: float | None = None
    before: int | None = None
    limit: int = DEFAULT_LIMIT


def parse_query(parameters: Mapping[str, str], slo: float) -> Query:
    """Reads a query from the parameters of a URL.

    Args:
        parameters: id, slow, error, tenant, model, since, cursor and limit.
        slo: Target seconds of an answer, for `slow` without a value; 0 means none is set.

    Raises:
        InvalidRequest: A parameter is unknown or has a wrong value.
    """
    found: dict[str, object] = {}
    for name, text in parameters.items():
        if name not in _READERS:
            raise InvalidRequest(
                f"The parameter {name} is unknown. Use {', '.join(_READERS)}.", param=name
            )
        if name == "slow" and text == "":
            found["slow"] = slo or SLOW_SECONDS
        elif name == "error" and text == "":
            found["failed"] = True
        else:
            field, read, expected = _READERS[name]
            try:
                found[field] = read(text)
            except (ValueError, OverflowError):
                raise InvalidRequest(
                    f"The parameter {name} is wrong. Send {expected}.", param=name
                ) from None
    return Query(**found)  # type: ignore[arg-type]  # each reader returns its field's type


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_LIMIT:
        raise ValueError
    return value


def _cursor(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError
    return value


def _moment(text: str) -> float:
    """Unix seconds, an ISO 8601 time (UTC without an offset), or how long ago: 10m, 2h, 1d."""
    if duration := _DURATION.fullmatch(text):
        return time.time() - float(duration[1]) * _UNIT_SECONDS[duration[2]]
    try:
        return _seconds(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_READERS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "id": ("id", str, "a request id"),
    "slow": ("slow", _seconds, "the minimum seconds, such as 2.5"),
    "error": ("error", str, "an error code, or nothing for every error"),
    "tenant": ("tenant", str, "a tenant's name"),
    "model": ("model", str, "a model's name"),
    "since": ("since", _moment, "Unix seconds, an ISO 8601 time, or a duration such as 10m"),
    "cursor": ("before", _cursor, "the value of next from the page before"),
    "limit": ("limit", _count, f"a number from 1 to {MAX_LIMIT}"),
}
"""By parameter: the field of `Query`, what reads its value, and what is expected."""
