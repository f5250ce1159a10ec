"""Incidents of a month, and when the engines will be full."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from silkline.errors import SERVER_FAULTS
from silkline.gateway.history.entry import Entry
from silkline.review.figures import DAY, HOUR, engine_seconds_by
from silkline.review.records import Event

GAP_SECONDS = 600.0
"""Time without a failure that ends an incident."""

MIN_FAILURES = 3
"""Failures below which it is none."""

_MARGIN_SECONDS = 900.0
_MAX_EVENTS = 8
_MIN_DAYS = 7


@dataclass(frozen=True, slots=True)
class Incident:
    """Questions that the server failed, one shortly after the other.

    Attributes:
        begin: Unix time of the first failure.
        end: Unix time of the last one.
        failures: Their number.
        codes: Failures by code.
        events: What the logs say, from shortly before it to shortly after it.
    """

    begin: float
    end: float
    failures: int
    codes: dict[str, int]
    events: tuple[Event, ...]


def incidents_of(entries: Sequence[Entry], events: Sequence[Event]) -> list[Incident]:
    """Finds the incidents in requests that are in the order of their arrival."""
    groups: list[list[Entry]] = []
    for one in entries:
        if one.asked is None or one.error not in SERVER_FAULTS:
            continue
        if groups and one.at - groups[-1][-1].at <= GAP_SECONDS:
            groups[-1].append(one)
        else:
            groups.append([one])
    return [_incident(group, events) for group in groups if len(group) >= MIN_FAILURES]


def _incident(group: Sequence[Entry], events: Sequence[Event]) -> Incident:
    begin, end = group[0].at, group[-1].at
    near = [
        event for event in events if begin - _MARGIN_SECONDS <= event.at <= end + _MARGIN_SECONDS
    ]
    codes = Counter(one.error for one in group)
    return Incident(begin, end, len(group), dict(codes.most_common()), tuple(near[:_MAX_EVENTS]))


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the busiest hour of a day fills the engines.

    Attributes:
        slope: Answers in the engines at once by which the busiest hour grows each day.
        now: The same in the busiest hour of the last day, on the line.
        capacity: Answers that fit into the engines at once.
        days: Days from the last day until they are full; None if the load does not grow.
    """

    slope: float
    now: float
    capacity: int
    days: float | None


def forecast_of(entries: Sequence[Entry], capacity: int) -> Forecast | None:
    """Fits a line to the busiest hour of each day; None with fewer than seven days."""
    peaks: dict[int, float] = {}
    for hour, seconds in engine_seconds_by(entries, HOUR).items():
        day = int(hour * HOUR // DAY)
        peaks[day] = max(peaks.get(day, 0.0), seconds / HOUR)
    if len(peaks) < _MIN_DAYS:
        return None
    days, values = list(peaks), list(peaks.values())
    mean_day, mean = math.fsum(days) / len(days), math.fsum(values) / len(values)
    slope = math.fsum(
        (day - mean_day) * (value - mean) for day, value in zip(days, values, strict=True)
    ) / math.fsum((day - mean_day) ** 2 for day in days)
    now = mean + slope * (max(days) - mean_day)
    left = max(0.0, capacity - now) / slope if slope > 0 else None
    return Forecast(slope, now, capacity, left)
