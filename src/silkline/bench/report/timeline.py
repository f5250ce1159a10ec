"""A run cut into pieces of time, and what happened in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from silkline.bench.record import Record
from silkline.bench.summary import UNTOLD

_WIDTHS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_MAX_BINS = 120


@dataclass(slots=True)
class Bin:
    """One piece of time.

    Attributes:
        offered: Requests that were due in it.
        latencies: Seconds of those of them that were answered, ascending.
        states: How many of these had which cache state.
        failures: How many requests that ended in it failed, by code.
        served: Answers that ended in it.
        good: How many of these were in time.
    """

    offered: int = 0
    latencies: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    served: int = 0
    good: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bins of one target; `width` is in seconds, and the last bin may be cut short.

    Attributes:
        marks: What happened during the run: seconds after its start, and a label.
    """

    width: float
    seconds: float
    bins: list[Bin]
    marks: Sequence[tuple[float, str]] = ()

    @property
    def edges(self) -> list[float]:
        """Where the bins begin, and where the last one ends."""
        return [self.width * number for number in range(len(self.bins))] + [self.seconds]

    def rate(self, number: int, count: int) -> float:
        """A count in a bin as a rate."""
        edges = self.edges
        return count / max(edges[number + 1] - edges[number], 1e-9)


def timeline(
    records: Sequence[Record],
    seconds: float,
    slo: float,
    marks: Sequence[tuple[float, str]] = (),
) -> Timeline:
    """Cuts the records of one target into bins.

    Answers that end after the schedule count in the last bin.

    Args:
        records: Of one target.
        seconds: Length of the schedule.
        slo: Seconds within which an answer is good.
        marks: See `Timeline`.
    """
    width = next((one for one in _WIDTHS if seconds / one <= _MAX_BINS), _WIDTHS[-1])
    count = max(1, -int(-seconds // width))
    bins = [Bin() for _ in range(count)]
    for record in records:
        due = bins[min(count - 1, int(record.intended / width))]
        end = bins[min(count - 1, int(record.ended / width))]
        due.offered += 1
        if not record.ok:
            end.failures[record.code] += 1
            continue
        due.latencies.append(record.latency)
        due.states[record.cache or UNTOLD] += 1
        if record.ended < seconds + width:  # what comes long after is not the last bin's rate
            end.served += 1
            end.good += record.latency <= slo
    for one in bins:
        one.latencies.sort()
    return Timeline(width, seconds, bins, marks)
