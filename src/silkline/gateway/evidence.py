"""Says in headers and bodies where an answer came from, what it cost, and what was ignored."""

from __future__ import annotations

import math
from typing import Any

from silkline.core import Timeline
from silkline.gateway.fields import header_value
from silkline.service.record import RequestRecord


def evidence_headers(record: RequestRecord) -> dict[str, str]:
    """Headers with the model, the cache status, the pixel budget and the time of each stage.

    They also list ignored fields, and a lowered `max_tokens`. `server-timing` has each stage in
    milliseconds: https://www.w3.org/TR/server-timing/.
    """
    headers = {
        "x-silkline-cache": record.cache,
        "x-silkline-model": record.served,
        "x-silkline-pixel-budget": str(record.pixel_budget),
    }
    if record.max_tokens is not None:
        headers["x-silkline-max-tokens"] = str(record.max_tokens)
    if record.ignored:
        headers["x-silkline-ignored"] = header_value(record.ignored)
    if record.experiment:
        headers["x-silkline-experiment"] = f"{record.experiment}={record.arm}"
    stages = ", ".join(
        f"{stage.value};dur={seconds * 1000:.2f}"
        for stage, seconds in record.timeline.seconds.items()
    )
    return {**headers, "server-timing": stages} if stages else headers


def evidence(record: RequestRecord, timeline: Timeline) -> dict[str, Any]:
    """The object `silkline` of a response body; see `evidence_headers`."""
    found: dict[str, Any] = {
        "cache": record.cache,
        "model": record.served,
        "pixel_budget": record.pixel_budget,
        "timeline": rounded(timeline),
    }
    if len(set(record.pixel_budgets)) > 1:
        found["pixel_budgets"] = record.pixel_budgets
    if record.max_tokens is not None:
        found["max_tokens"] = record.max_tokens
    return found


def rounded(timeline: Timeline) -> dict[str, float]:
    """A timeline for a response body: seconds by stage, rounded down to the microsecond."""
    return {
        stage.value: math.floor(seconds * 1e6) / 1e6 for stage, seconds in timeline.seconds.items()
    }
