"""Traffic and its objective, as commands that plan take them: `12M/day`, `p99=420ms`."""

from __future__ import annotations

import re

import click

from silkline.bench.option_types import parse_seconds
from silkline.plan.traffic import DAY

_TRAFFIC = re.compile(r"(\d+(?:\.\d+)?)([kM]?)/(s|min|h|day)", re.ASCII)
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}
_SPANS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": DAY}
_SLO = re.compile(r"p(\d{1,2}(?:\.\d+)?)=(.+)", re.ASCII)


def parse_traffic(text: str) -> float:
    """Reads requests a second, written such as `12M/day`.

    Raises:
        click.BadParameter: The text is nothing of that kind, or is 0.
    """
    found = _TRAFFIC.fullmatch(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not a rate such as 12M/day, 400k/h or 25/s.")
    return float(found[1]) * _FACTORS[found[2]] / _SPANS[found[3]]


def parse_slo(text: str) -> tuple[float, float]:
    """Reads a share of the answers and the seconds for them, written such as `p99=420ms`.

    Raises:
        click.BadParameter: The text is nothing of that kind.
    """
    found = _SLO.fullmatch(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not an objective such as p99=420ms.")
    return float(found[1]) / 100, parse_seconds(found[2])
