"""The objective of a latency, as commands that plan take it: `p99=420ms` or `p99<=420ms`."""

from __future__ import annotations

from silkline.errors import ConfigError
from silkline.optimize.requirements import Kind, parse_requirements


def parse_slo(text: str) -> tuple[float, float]:
    """Reads a share of the answers and the seconds within which they must come.

    Raises:
        ConfigError: The text is no requirement on the latency in seconds.
    """
    (found,) = parse_requirements([text], [])
    if found.kind is not Kind.LATENCY or found.relative:
        raise ConfigError(f"{text!r} is not an objective such as p99=420ms.")
    return found.share, found.limit
