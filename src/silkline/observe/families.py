"""Metrics of several gateway processes, merged into one set.

Each process sends its metric families to the process that owns them. Merged counters never fall:
when a process ends, its last known counters are added to what later ones count. What it counted
after it last sent them is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Rule = Callable[[Iterable[float]], float]
"""Merges the values that processes have for one sample."""

_CREATED = "_created"
"""Suffix of the samples that say since when a counter counts."""

_GAUGE = "gauge"


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """A sample: its name, labels and value."""

    name: str
    labels: dict[str, str]
    value: float

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Identifies the sample over processes."""
        return self.name, tuple(self.labels.items())


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric family: its name, Prometheus type, documentation and samples."""

    name: str
    type: str
    documentation: str
    samples: list[Sample]


def families_of(registry: CollectorRegistry) -> list[Family]:
    """Reads all metric families of a registry."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [Sample(sample.name, sample.labels, sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


class MergedMetrics(Collector):
    """The metrics of several processes; a source of the families that Prometheus reads."""

    def __init__(self, rules: Mapping[tuple[str, ...], Rule]) -> None:
        """Takes the rules by a family's name, alone or with the values of a sample's labels.

        The values of other samples are added up.
        """
        self._rules = rules
        self._processes: dict[int, list[Family]] = {}
        self._ended: dict[str, Family] = {}

    def update(self, process: int, families: list[Family]) -> None:
        """Takes the current families of a process."""
        self._processes[process] = families

    def ended(self, process: int) -> None:
        """Keeps the counters of a process that has ended."""
        families = self._processes.pop(process, [])
        counted = [family for family in families if family.type != _GAUGE]
        for family in self._merged([list(self._ended.values()), counted]):
            self._ended[family.name] = family

    def collect(self) -> Iterable[Metric]:
        """Merges the families of all processes, and of those that have ended."""
        for family in self._merged([*self._processes.values(), list(self._ended.values())]):
            metric = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric

    def render(self) -> bytes:
        """Returns the merged metrics in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def _merged(self, processes: Iterable[Iterable[Family]]) -> list[Family]:
        families: dict[str, Family] = {}
        values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
        for process in processes:
            for family in process:
                known = families.setdefault(
                    family.name, Family(family.name, family.type, family.documentation, [])
                )
                for sample in family.samples:
                    if sample.key not in values:
                        known.samples.append(sample)
                    values.setdefault(sample.key, []).append(sample.value)
        for family in families.values():
            family.samples[:] = [
                Sample(sample.name, sample.labels, self._rule(family, sample)(values[sample.key]))
                for sample in family.samples
            ]
        return list(families.values())

    def _rule(self, family: Family, sample: Sample) -> Rule:
        if sample.name.endswith(_CREATED):
            return min
        of_family = self._rules.get((family.name,), sum)
        return self._rules.get((family.name, *sample.labels.values()), of_family)
