"""How many workers an application should have: its policy of autoscaling, for Ray Serve.

Requests wait in gateways, so Serve does not see them. Each worker reports what it computes itself,
and what waits in the gateways; Serve gives all reports to `policy`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from silkline.service.ray.directory import Load

FULL = 0.8
"""The share of the workers' slots that may be taken."""

BACKLOG_SECONDS = 2.0
"""The backlog at which the number of workers is right."""

_OCCUPIED, _WAITING, _BACKLOG = "occupied_workers", "waiting_workers", "backlog_seconds"


class Value(Protocol):
    """A value of Serve's time series."""

    @property
    def value(self) -> float:
        """The value."""


class Context(Protocol):
    """What Serve gives to a policy; a part of its `AutoscalingContext`."""

    @property
    def current_num_replicas(self) -> int:
        """The number of workers."""

    @property
    def raw_metrics(self) -> Mapping[str, Mapping[Any, Sequence[Value]]]:
        """The series of each metric, by worker."""


def report(requests: int, load: Load, limit: int) -> dict[str, float]:
    """What a worker reports.

    Args:
        requests: Requests that it computes, or that wait in it.
        load: What waits in the gateways.
        limit: Maximum requests that a worker gets at a time.
    """
    return {
        _OCCUPIED: requests / limit,
        _WAITING: load.waiting / limit,
        _BACKLOG: load.backlog_seconds,
    }


def policy(context: Context) -> tuple[int, dict[str, Any]]:
    """How many workers there should be; Serve keeps it within the limits, and delays changes."""
    metrics = context.raw_metrics
    occupied = sum(_last(metrics.get(_OCCUPIED, {})))
    waiting = max(_last(metrics.get(_WAITING, {})), default=0.0)
    backlog = max(_last(metrics.get(_BACKLOG, {})), default=0.0)
    wanted = max(
        (occupied + waiting) / FULL, context.current_num_replicas * backlog / BACKLOG_SECONDS
    )
    return math.ceil(wanted - 1e-9), {}


def _last(series: Mapping[Any, Sequence[Value]]) -> Iterable[float]:
    return [values[-1].value for values in series.values() if values]
