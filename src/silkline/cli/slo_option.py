"""The objective of a latency, as commands that plan take it: `p99=420ms`."""

from __future__ import annotations

import re

import click

from silkline.bench.option_types import parse_seconds

_SLO = re.compile(r"p(\d{1,2}(?:\.\d+)?)=(.+)", re.ASCII)


def parse_slo(text: str) -> tuple[float, float]:
    """Reads a share of the answers and the seconds for them, written such as `p99=420ms`.

    Raises:
        click.BadParameter: The text is nothing of that kind.
    """
    found = _SLO.fullmatch(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not an objective such as p99=420ms.")
    return float(found[1]) / 100, parse_seconds(found[2])
