"""What a Prometheus knows of a month that no journal does: how busy engines were, what fired."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from silkline.errors import UNDECODABLE, EnvironmentFault
from silkline.review.records import Month

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_BUSY = "avg_over_time((avg(silkline:engine_busy:ratio5m))[{span}s:5m])"
_BUSIEST = "max_over_time((avg(silkline:engine_busy:ratio5m))[{span}s:5m])"
_FIRED = 'sum by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{span}s:1m]))'


@dataclass(frozen=True, slots=True)
class Watched:
    """What a Prometheus knows of a month.

    Attributes:
        busy: Mean share of the time in which the engines were busy; None if it has no samples.
        busiest: The same in the busiest five minutes.
        fired: Minutes for which each alert fired.
    """

    busy: float | None
    busiest: float | None
    fired: dict[str, int]


async def ask_prometheus(url: str, month: Month) -> Watched:
    """Asks a Prometheus about a month.

    Raises:
        EnvironmentFault: It does not respond, or is none.
    """
    end = min(month.end, time.time())
    span = max(60, round(end - month.begin))
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            found = [
                await _query(session, url, query.format(span=span), end)
                for query in (_BUSY, _BUSIEST, _FIRED)
            ]
            busy, busiest = (_single(rows) for rows in found[:2])
            fired = {row["metric"]["alertname"]: round(float(row["value"][1])) for row in found[2]}
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, TypeError, *UNDECODABLE) as error:
        raise EnvironmentFault(
            f"{url} does not respond as a Prometheus does. Check --prometheus, or leave it out."
        ) from error
    return Watched(busy, busiest, fired)


async def _query(
    session: aiohttp.ClientSession, url: str, query: str, at: float
) -> list[dict[str, Any]]:
    asked = {"query": query, "time": f"{at:.3f}"}
    async with session.get(f"{url.rstrip('/')}/api/v1/query", params=asked) as response:
        body: Any = msgspec.json.decode(await response.read())
        return list(body["data"]["result"])


def _single(rows: list[dict[str, Any]]) -> float | None:
    return float(rows[0]["value"][1]) if rows else None
