"""Summarises records: goodput, latency, time by stage, failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from silkline.bench.percentiles import Ratio, paired_ratio, percentile, ranked
from silkline.bench.record import Record, Run
from silkline.core import Stage

OUTSIDE = "outside"
"""Time in no stage that the server reports: waiting to be sent, the network, HTTP itself."""

UNTOLD = "untold"
"""The cache state of answers whose server reported none."""


class Percentiles(msgspec.Struct, frozen=True):
    """A distribution in seconds; all 0 if it is empty."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    maximum: float = msgspec.field(name="most")


class Failures(msgspec.Struct, frozen=True):
    """Requests that failed with the same status and error code."""

    status: int
    code: str
    count: int


class Generator(msgspec.Struct, frozen=True):
    """The load generator's health: if it did not keep up, the figures include its own delays.

    Attributes:
        lateness: Seconds from the intended times to sending.
        limited: Requests that waited for a free connection.
        cpu: Average CPU use of a player, as a share of one core.
        opened: Connections opened.
        warmed: Requests sent before the clock started.
        warm_failures: How many warm-up requests failed.
    """

    lateness: Percentiles
    limited: int
    cpu: float
    opened: int
    warmed: int
    warm_failures: int


class Summary(msgspec.Struct, frozen=True):
    """The figures of one target.

    Attributes:
        name: The target's name.
        url: The target's URL.
        seconds: Length of the schedule.
        requests: Number of requests due.
        served: Requests with a complete answer.
        good: Requests answered within the SLO.
        slo: The SLO in seconds.
        latency: Latency of the answered requests, from their intended times.
        by_cache: Latency by the cache state that the server reported.
        by_stage: Seconds by stage, over the requests that have the stage.
        first_token: Time to first token from the intended time, for streams.
        gaps: Time between consecutive chunks of a stream.
        failures: Failures by kind, the most frequent first.
        completion_tokens: Completion tokens of all answers.
        generator: The generator's health.
    """

    name: str
    url: str
    seconds: float
    requests: int
    served: int
    good: int
    slo: float
    latency: Percentiles
    by_cache: dict[str, Percentiles]
    by_stage: dict[str, Percentiles]
    first_token: Percentiles
    gaps: Percentiles
    failures: list[Failures]
    completion_tokens: int
    generator: Generator

    @property
    def goodput(self) -> float:
        """The share of requests answered within the SLO; 0 without requests."""
        return self.good / max(1, self.requests)

    def per_second(self, count: int) -> float:
        """Converts a count to a rate per second over the schedule."""
        return count / self.seconds


class Comparison(msgspec.Struct, frozen=True):
    """The second target's figures divided by the first's.

    Attributes:
        pairs: Number of slices that both targets got.
        ratios: Ratios by figure, as geometric means over the pairs; None if no pair is usable.
    """

    pairs: int
    ratios: dict[str, Ratio | None]


def distribution(values: Iterable[float]) -> Percentiles:
    """The distribution of values in seconds."""
    ordered = sorted(values)
    mean = sum(ordered) / max(1, len(ordered))
    shares = (ranked(ordered, share) for share in (0.5, 0.9, 0.99, 0.999, 1.0))
    return Percentiles(len(ordered), mean, *shares)


def summarise(run: Run, target: int, slo: float) -> Summary:
    """The figures of one target.

    Args:
        run: What was recorded.
        target: 0 or 1.
        slo: Seconds within which an answer is good.
    """
    records = run.of(target)
    served = [record for record in records if record.ok]
    by_cache: dict[str, list[float]] = defaultdict(list)
    by_stage: dict[str, list[float]] = defaultdict(list)
    for record in served:
        by_cache[record.cache or UNTOLD].append(record.latency)
        for stage, seconds in stages_of(record).items():
            by_stage[stage].append(seconds)
    streams = [record for record in served if record.first_token]
    return Summary(
        name=run.spec.targets[target].name,
        url=run.spec.targets[target].url,
        seconds=run.spec.arrivals.seconds,
        requests=len(records),
        served=len(served),
        good=sum(record.latency <= slo for record in served),
        slo=slo,
        latency=distribution(record.latency for record in served),
        by_cache={state: distribution(values) for state, values in sorted(by_cache.items())},
        by_stage={stage: distribution(by_stage[stage]) for stage in in_order(by_stage)},
        first_token=distribution(record.first_token - record.intended for record in streams),
        gaps=distribution(gap for record in streams for gap in record.gaps),
        failures=_failures(records),
        completion_tokens=sum(record.completion_tokens for record in served),
        generator=_generator(run, target),
    )


def stages_of(record: Record) -> dict[str, float]:
    """A request's seconds by stage, with the rest of its latency as `OUTSIDE`.

    Empty if the server reported no stages.
    """
    if not record.stages:
        return {}
    outside = record.latency - sum(record.stages.values())
    return {**record.stages, OUTSIDE: max(0.0, outside)}


def in_order(stages: Iterable[str]) -> list[str]:
    """Sorts stages in the order of the pipeline; then unknown ones, then `OUTSIDE`."""
    seen = set(stages)
    known = [stage.value for stage in Stage if stage.value in seen]
    return known + sorted(seen - {*known, OUTSIDE}) + [OUTSIDE] * (OUTSIDE in seen)


def compare(run: Run, slo: float) -> Comparison:
    """Divides the second target's figures by the first's, slice by slice."""
    count = max(1, round(run.spec.arrivals.seconds / run.spec.slice_seconds))
    length = run.spec.arrivals.seconds / count
    sides: list[list[list[Record]]] = []
    for target in (0, 1):
        slices: list[list[Record]] = [[] for _ in range(count)]
        for record in run.of(target):
            slices[min(count - 1, int(record.intended / length))].append(record)
        sides.append(slices)
    ratios = {
        name: paired_ratio(
            [(read(second, slo), read(first, slo)) for first, second in zip(*sides, strict=True)]
        )
        for name, read in _COMPARED.items()
    }
    return Comparison(count, ratios)


def _latency(share: float) -> Callable[[Sequence[Record], float], float]:
    return lambda records, _: percentile((record.latency for record in records if record.ok), share)


def _good(records: Sequence[Record], slo: float) -> float:
    return float(sum(record.ok and record.latency <= slo for record in records))


_COMPARED: dict[str, Callable[[Sequence[Record], float], float]] = {
    "good answers": _good,
    "P50": _latency(0.5),
    "P90": _latency(0.9),
    "P99": _latency(0.99),
}


def _failures(records: Sequence[Record]) -> list[Failures]:
    kinds = Counter((record.status, record.code) for record in records if not record.ok)
    return [Failures(status, code, count) for (status, code), count in kinds.most_common()]


def _generator(run: Run, target: int) -> Generator:
    records, health = run.of(target), run.health[target]
    players = run.spec.limits.processes
    return Generator(
        lateness=distribution(record.lateness for record in records),
        limited=sum(record.limited for record in records),
        cpu=health.cpu_seconds / max(health.wall_seconds, 1e-9) / players,
        opened=health.opened,
        warmed=health.warmed,
        warm_failures=health.warm_failures,
    )
