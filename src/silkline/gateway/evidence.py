"""What an answer tells about itself: from where it came, what it cost, what was left out."""

from __future__ import annotations

import math

from silkline.core import Timeline
from silkline.gateway.fields import header_value
from silkline.service.record import RequestRecord


def evidence_headers(record: RequestRecord) -> dict[str, str]:
    """The headers that say what answered, from where, of how many pixels, and in what time.

    They also name what of the request was left out: fields, and tokens. `server-timing` has each
    stage in milliseconds: https://www.w3.org/TR/server-timing/.
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
    stages = ", ".join(
        f"{stage.value};dur={seconds * 1000:.2f}"
        for stage, seconds in record.timeline.seconds.items()
    )
    return {**headers, "server-timing": stages} if stages else headers


def rounded(timeline: Timeline) -> dict[str, float]:
    """A timeline for a response's body: seconds by stage, to the microsecond."""
    return {
        stage.value: math.floor(seconds * 1e6) / 1e6 for stage, seconds in timeline.seconds.items()
    }
