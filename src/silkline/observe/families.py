"""Metrics of several gateway processes, merged into one set.

Each process sends its metric families to the process that owns them. Merged counters never fall:
when a process ends, its last known counters are added to what later ones count. What it counted
after it last sent them is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, Metric
from prometheus_client.registry import Collector

from silkline.observe.declared import Rule
from silkline.observe.exposition import Format

_CREATED = "_created"
"""Suffix of the samples that say since when a counter counts."""

_GAUGE = "gauge"


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """A sample: its name, labels and value, and an example of what was observed."""

    name: str
    labels: dict[str, str]
    value: float
    exemplar: tuple[dict[str, str], float, float | None] | None = None

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Identifies the sample over processes."""
        return self.name, tuple(self.labels.items())


def _exemplar(found: Exemplar | None) -> tuple[dict[str, str], float, float | None] | None:
    if found is None:
        return None
    return found.labels, found.value, None if found.timestamp is None else float(found.timestamp)


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric family: its name, Prometheus type, documentation and samples."""

    name: str
    type: str
    documentation: str
    samples: list[Sample]


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Returns metrics, such as those that a registry collects, in the form that is sent."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [
                Sample(
                    sample.name,
                    sample.labels,
                    sample.value,
                    _exemplar(sample.exemplar),
                )
                for sample in metric.samples
            ],
        )
        for metric in metrics
    ]


class MergedMetrics(Collector):
    """The metrics of several processes; a source of the families that Prometheus reads."""

    def __init__(self, rules: Mapping[tuple[str, ...], Rule]) -> None:
        """Takes the rules by a family's name, alone or with the value of a sample's first label.

        The values of other samples are added up.
        """
        self._rules = rules
        self._processes: dict[int, list[Family]] = {}
        self._ended: dict[str, Family] = {}

    def update(self, process: int, families: list[Family]) -> None:
        """Takes the current families of a process."""
        self._processes[process] = families

    def ended(self, process: int) -> None:
        """Keeps the counters of a process that has ended, if those of processes are added up."""
        families = self._processes.pop(process, [])
        counted = [
            family
            for family in families
            if family.type != _GAUGE and self._rules.get((family.name,), sum) is sum
        ]
        for family in self._merged([list(self._ended.values()), counted]):
            self._ended[family.name] = family

    def collect(self) -> Iterable[Metric]:
        """Merges the families of all processes, and of those that have ended."""
        for family in self._merged([*self._processes.values(), list(self._ended.values())]):
            metric = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                exemplar = None if sample.exemplar is None else Exemplar(*sample.exemplar)
                metric.add_sample(sample.name, sample.labels, sample.value, exemplar=exemplar)
            yield metric

    def render(self, form: Format = Format.TEXT) -> bytes:
        """Returns the merged metrics in one of Prometheus' text formats."""
        registry = CollectorRegistry()
        registry.register(self)
        return form.write(registry)

    def _merged(self, processes: Iterable[Iterable[Family]]) -> list[Family]:
        families: dict[str, Family] = {}
        values: dict[tuple[str, tuple[tuple[str, str], ...]], list[Sample]] = {}
        for process in processes:
            for family in process:
                known = families.setdefault(
                    family.name, Family(family.name, family.type, family.documentation, [])
                )
                for sample in family.samples:
                    if sample.key not in values:
                        known.samples.append(sample)
                    values.setdefault(sample.key, []).append(sample)
        for family in families.values():
            family.samples[:] = [self._one(family, values[sample.key]) for sample in family.samples]
        return list(families.values())

    def _one(self, family: Family, samples: list[Sample]) -> Sample:
        """Merges the samples that processes have under one key, with the newest exemplar."""
        first = samples[0]
        value = self._rule(family, first)(sample.value for sample in samples)
        exemplars = [sample.exemplar for sample in samples if sample.exemplar is not None]
        newest = max(exemplars, key=lambda exemplar: exemplar[2] or 0.0, default=None)
        return Sample(first.name, first.labels, value, newest)

    def _rule(self, family: Family, sample: Sample) -> Rule:
        if sample.name.endswith(_CREATED):
            return min
        of_family = self._rules.get((family.name,), sum)
        first = next(iter(sample.labels.values()), "")
        return self._rules.get((family.name, first), of_family)
