"""Requirements: `accuracy_drop<=0.5pt`, `p99<=420ms`, `size<=0.3x`.

A requirement is a name, `<=` or `>=`, and a number with a unit. The name says what is measured, and
so which comparison and which units it takes; `=` stands for that comparison. All commands that take
an objective read it here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from silkline.errors import ConfigError
from silkline.evaluate.metrics.catalogue import Metric

AGREEMENT = "agreement"
MAIN = "accuracy"
"""The name of the main metric, whatever it is."""

_DROP = "_drop"
_WRITTEN = re.compile(r"\s*([^<>=]*[^<>=\s])\s*(<=|>=|=)\s*(\d+(?:\.\d+)?)\s*([A-Za-z%/]*)\s*")
_KIB = 1024
_BYTES = {
    "MB": 1000**2, "GB": 1000**3, "MiB": _KIB**2, "GiB": _KIB**3,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1.0}
_TIMES = {"x": 1.0}
"""Times the baseline's value."""


class Kind(StrEnum):
    """What a requirement is about."""

    DROP = "drop of a metric"
    LEVEL = "level of a metric"
    AGREEMENT = "share of identical answers"
    LATENCY = "latency"
    FIRST_TOKEN = "time to the first token"  # noqa: S105 - no password
    THROUGHPUT = "answers per second"
    SIZE = "size of the weights"
    MEMORY = "peak memory"


QUALITY = frozenset({Kind.DROP, Kind.LEVEL, Kind.AGREEMENT})
SPEED = frozenset({Kind.LATENCY, Kind.FIRST_TOKEN, Kind.THROUGHPUT, Kind.MEMORY})
"""Kinds that are measured under load."""

_PERCENTILE = re.compile(r"(first_token_)?p(\d{1,2}(?:\.\d+)?)", re.ASCII)
_EXAMPLES = ("p50", "p90", "p99", "first_token_p50", "first_token_p90", "first_token_p99")
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class _Named:
    kind: Kind
    units: Mapping[str, float]
    share: float = 0.0
    metric: Metric | None = None


_FIXED: Mapping[str, _Named] = {
    "throughput": _Named(Kind.THROUGHPUT, {"/s": 1.0} | _TIMES),
    "size": _Named(Kind.SIZE, _BYTES | _TIMES),
    "memory": _Named(Kind.MEMORY, _BYTES | _TIMES),
}

_LOWER_BOUNDS = frozenset({Kind.LEVEL, Kind.AGREEMENT, Kind.THROUGHPUT})


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement.

    Attributes:
        text: As it was written.
        kind: What it is about.
        limit: The bound: seconds, bytes, answers per second or times the baseline; for a metric, a
            share of its highest value.
        relative: Whether `limit` is times the baseline.
        share: The percentile as a share, such as 0.99; 0 if it is about none.
        metric: The metric's name; empty if it is about none.
        highest: The metric's highest value.
    """

    text: str
    kind: Kind
    limit: float
    relative: bool = False
    share: float = 0.0
    metric: str = ""
    highest: float = 1.0

    @property
    def margin(self) -> float:
        """The largest mean loss that a requirement on quality allows."""
        return self.limit if self.kind is Kind.DROP else 1 - self.limit


_QUALITY, _QUALITY_WITHOUT_REFERENCES = "accuracy_drop<=0.5pt", "agreement>=99%"
_FASTER = "throughput>=1x"


def usual_requirements(
    texts: Sequence[str],
    metrics: Sequence[Metric],
    *,
    no_slower: bool,
    limits: Sequence[str] = (),
) -> list[Requirement]:
    """Parses requirements; without any, a bundle may lose 0.5 points of the main metric.

    Args:
        texts: The requirements as written, instead of the usual one.
        metrics: The metrics of the data set, the main one first.
        no_slower: Whether a bundle must also be no slower than the baseline, unless the
            requirements limit the throughput themselves.
        limits: Further requirements, beside the usual one.

    Raises:
        ConfigError: As `parse_requirements`.
    """
    quality = _QUALITY if metrics else _QUALITY_WITHOUT_REFERENCES
    found = parse_requirements((*(texts or (quality,)), *limits), metrics)
    if no_slower and not any(each.kind is Kind.THROUGHPUT and each.relative for each in found):
        found += parse_requirements((_FASTER,), metrics)
    return found


def parse_requirements(texts: Sequence[str], metrics: Sequence[Metric]) -> list[Requirement]:
    """Parses requirements.

    Args:
        texts: The requirements as written.
        metrics: The metrics of the data set, the main one first.

    Raises:
        ConfigError: One is malformed, names something unknown, or has a wrong unit; or there is
            none.
    """
    if not texts:
        raise ConfigError(
            "The gate has no requirement. Name at least one, such as "
            '--require "accuracy_drop<=0.5pt".'
        )
    found = [_parse(text, {metric.name: metric for metric in metrics}) for text in texts]
    if len({(one.kind, one.metric, one.share, one.relative) for one in found}) < len(found):
        raise ConfigError("Two requirements limit the same thing. Keep the stricter one.")
    return found


def _parse(text: str, metrics: Mapping[str, Metric]) -> Requirement:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"The requirement {text[:80]!r} is not NAME<=VALUE or NAME>=VALUE, such as "
            "accuracy_drop<=0.5pt, p99<=420ms or size<=0.3x."
        )
    name, sign, number, unit = match.groups()
    named = _FIXED.get(name) or _percentile(name) or _of_quality(name, text, metrics)
    expected = ">=" if named.kind in _LOWER_BOUNDS else "<="
    if sign not in {"=", expected}:
        raise ConfigError(f"The requirement {text} has {sign}; {name} takes {expected}.")
    if unit not in named.units:
        units = " or ".join(one or "no unit" for one in named.units)
        raise ConfigError(
            f"The requirement {text} has {f'the unit {unit}' if unit else 'no unit'}; {name} takes "
            f"{units}."
        )
    limit = float(number) * named.units[unit]
    if limit == 0 or (named.kind in QUALITY and limit >= 1):
        raise ConfigError(f"The requirement {text} can never, or always, hold. Check its value.")
    return Requirement(
        text=text.strip(),
        kind=named.kind,
        limit=limit,
        relative=unit == "x",
        share=named.share,
        metric="" if named.metric is None else named.metric.name,
        highest=1.0 if named.metric is None else named.metric.highest,
    )


def _percentile(name: str) -> _Named | None:
    found = _PERCENTILE.fullmatch(name)
    if found is None or not float(found[2]):
        return None
    kind = Kind.FIRST_TOKEN if found[1] else Kind.LATENCY
    return _Named(kind, _SECONDS | _TIMES, float(found[2]) / _PERCENT)


def _of_quality(name: str, text: str, metrics: Mapping[str, Metric]) -> _Named:
    if name == AGREEMENT:
        return _Named(Kind.AGREEMENT, {"%": 0.01})
    base, is_drop = name.removesuffix(_DROP), name.endswith(_DROP)
    metric = metrics.get(base)
    if metric is None and base == MAIN:
        metric = next(iter(metrics.values()), None)
    if metric is None:
        of_metrics = [*(each + _DROP for each in (MAIN, *metrics)), MAIN, *metrics]
        known = [*(of_metrics if metrics else ()), AGREEMENT, *_EXAMPLES, *_FIXED]
        raise ConfigError(
            f"The requirement {text} is about {name}, which is unknown here. There is: "
            f"{', '.join(known)}."
        )
    if metric.highest == 1.0:
        units = {"pt": 0.01} if is_drop else {"%": 0.01}
    else:
        units = {"": 1 / metric.highest}
    return _Named(Kind.DROP if is_drop else Kind.LEVEL, units, metric=metric)
