"""What a metric is: its name, type, labels, help text, and how gateway processes merge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX = "silkline_"
_TOTAL = "_total"

Rule = Callable[[Iterable[float]], float]
"""Merges the values that gateway processes have for one sample."""


class Kind(StrEnum):
    """A metric's type in Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A declared metric.

    Attributes:
        name: Its name in Prometheus, which for a counter ends in `_total`.
        kind: Its type.
        about: Its help text.
        labels: The names of its labels.
        buckets: Upper bounds of a histogram's buckets.
        merge: Merges the values of several gateway processes: `sum` for what each of them counts,
            `max` or `min` for what they share or where the worst one counts.
        merge_where: Other rules, by the value of the first label.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Rule = sum
    merge_where: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The name of its family, as `prometheus_client` has it: without `_total`."""
        return self.name.removesuffix(_TOTAL)

    @property
    def rules(self) -> Mapping[tuple[str, ...], Rule]:
        """Its rules by the family's name, alone or with the value of the first label."""
        return {(self.family,): self.merge} | {
            (self.family, value): rule for value, rule in self.merge_where.items()
        }


Reading = tuple[Declared, Sequence[str], float]
"""A metric, the values of its labels, and its value at this moment."""


def counter(name: str, about: str, *labels: str, merge: Rule = sum) -> Declared:
    """Declares a counter, by its name without prefix and `_total`."""
    return Declared(f"{PREFIX}{name}{_TOTAL}", Kind.COUNTER, about, labels, merge=merge)


def gauge(
    name: str,
    about: str,
    *labels: str,
    merge: Rule = sum,
    merge_where: Mapping[str, Rule] | None = None,
) -> Declared:
    """Declares a gauge, by its name without prefix."""
    where = merge_where or {}
    return Declared(f"{PREFIX}{name}", Kind.GAUGE, about, labels, merge=merge, merge_where=where)


def histogram(name: str, about: str, buckets: Sequence[float], *labels: str) -> Declared:
    """Declares a histogram, by its name without prefix."""
    return Declared(f"{PREFIX}{name}", Kind.HISTOGRAM, about, labels, tuple(buckets))


def families(readings: Iterable[Reading]) -> Iterable[Metric]:
    """Returns the metric families of readings of counters and gauges."""
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for metric, labels, value in readings:
        if metric.name not in found:
            family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            found[metric.name] = family(metric.family, metric.about, labels=metric.labels)
        found[metric.name].add_metric(labels, float(value))
    return found.values()
