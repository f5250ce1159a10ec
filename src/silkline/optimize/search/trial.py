"""What a trial of a candidate found, and which trials are worth more than others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

Names = tuple[str, ...]
"""The optimisations of a candidate, in the order in which they are applied."""

BASELINE: Names = ("the baseline",)
"""The model that a candidate would replace."""


def label_of(names: Names) -> str:
    """A candidate in words."""
    return " + ".join(names) or "no optimisation"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a candidate after a trial.

    Attributes:
        names: Its optimisations; none for the weights that all candidates are built from.
        items: Number of items that it was asked, the first of the selection.
        problem: Why it could not be built or asked, or what it lost; empty if it is in the race.
        speed: Its speed in times of the baseline's: the geometric mean over the items.
        low: Lower end of the speed's 95% interval.
        high: Upper end.
        seconds: Median latency in seconds, with so many requests in flight as the load has.
        throughput: Answers per second.
        worse: P-value of violating no requirement on quality: small if one is violated.
        kept: P-value of violating one: small if all hold.
        drop: Points of the main metric lost, as a share of its highest value.
        score: Mean of the main metric; None without metrics.
        size: Bytes of the weights; None if unknown.
        memory: Peak memory of the engine in bytes; None if unknown.
        build_seconds: Time to build it.
        ask_seconds: Time to load it and to ask.
    """

    names: Names
    items: int = 0
    problem: str = ""
    speed: float = 1.0
    low: float = 1.0
    high: float = 1.0
    seconds: float = 0.0
    throughput: float = 0.0
    worse: float = 1.0
    kept: float = 0.0
    drop: float = 0.0
    score: float | None = None
    size: int | None = None
    memory: int | None = None
    build_seconds: float = 0.0
    ask_seconds: float = 0.0

    @property
    def label(self) -> str:
        """The candidate in words."""
        return label_of(self.names)

    @property
    def measured(self) -> bool:
        """Whether it was asked."""
        return self.items > 0


def frontier(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that no other one beats in quality, latency, throughput, memory and size.

    One beats another if it is at least as good in all of them, and better in one. What is unknown
    counts as the worst. Only trials on the most items are compared with each other.
    """
    found = [each for each in trials if each.measured and not each.problem]
    maximum = max((each.items for each in found), default=0)
    compared = [(each, _costs(each)) for each in found if each.items == maximum]
    return [
        each
        for each, costs in compared
        if not any(
            other != costs and all(a <= b for a, b in zip(other, costs, strict=True))
            for _, other in compared
        )
    ]


def _costs(trial: Trial) -> tuple[float, ...]:
    unknown = float("inf")
    return (
        trial.drop,
        trial.seconds,
        -trial.throughput,
        unknown if trial.memory is None else trial.memory,
        unknown if trial.size is None else trial.size,
    )


_DOUBTFUL = 0.2
"""A p-value below which a candidate probably loses too much."""


def fastest(trials: Sequence[Trial]) -> list[Trial]:
    """Those that are in the race: the fastest first, but what probably loses too much last."""
    return sorted(
        (each for each in trials if each.measured and not each.problem),
        key=lambda each: (each.worse < _DOUBTFUL, -each.speed, each.size or 0, each.names),
    )
