"""From requests to figures: rates, percentiles, ratios and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.closed_loop import Measured
from silkline.bench.percentiles import percentile

OK = 200
"""The status of a request that was answered."""


class Figures(msgspec.Struct, frozen=True):
    """What one subject did in one cell, or in several put together.

    Attributes:
        requests: Answers that came in the window, errors left out.
        errors: Requests of the whole cell that ended in an error.
        cached: Answers of the whole cell that a cache gave; there should be none.
        rate: Requests per second.
        tokens_rate: Tokens of answers per second.
        p50, p95, p99: Percentiles of the latency, in milliseconds.
        client_cpu: Share of one core that the asking process took, 0 to 1.
        cpu_ms: Processor milliseconds of a request, by process.
    """

    requests: int
    errors: int
    cached: int
    rate: float
    tokens_rate: float
    p50: float
    p95: float
    p99: float
    client_cpu: float
    cpu_ms: dict[str, float]


class Spread(msgspec.Struct, frozen=True):
    """The median over the rounds, and the least and the most."""

    median: float
    least: float
    most: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.least:{spec}} to {self.most:{spec}})"


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def figures(measured: Measured, cpu_seconds: dict[str, float]) -> Figures:
    """The figures of one cell.

    A request counts by the share of its time that lies in the window, so that a batch that ends at
    the window's edge counts neither whole nor not at all.

    Args:
        measured: The cell's outcome.
        cpu_seconds: What the subject's processes computed during the whole cell.
    """
    good = [asked for asked in measured.asked if asked.reply.status == OK]
    shares = [_share(asked.began, asked.ended, measured.window) for asked in good]
    tokens = [share * asked.reply.tokens for share, asked in zip(shares, good, strict=True)]
    latencies = latencies_ms(measured)
    count = max(1, len(measured.asked))
    return Figures(
        requests=len(latencies),
        errors=len(measured.asked) - len(good),
        cached=sum(asked.reply.cached for asked in good),
        rate=sum(shares) / measured.window,
        tokens_rate=sum(tokens) / measured.window,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
        client_cpu=measured.cpu_seconds / measured.wall_seconds,
        cpu_ms={name: seconds / count * 1000 for name, seconds in cpu_seconds.items()},
    )


def pooled(rounds: Sequence[Figures], latencies: Sequence[float]) -> Figures:
    """Several rounds of one cell as one: percentiles over all requests, medians of the rest."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    return Figures(
        requests=len(latencies),
        errors=sum(one.errors for one in rounds),
        cached=sum(one.cached for one in rounds),
        rate=median("rate"),
        tokens_rate=median("tokens_rate"),
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
        client_cpu=median("client_cpu"),
        cpu_ms={
            name: statistics.median(one.cpu_ms.get(name, 0.0) for one in rounds)
            for name in sorted({name for one in rounds for name in one.cpu_ms})
        },
    )


def latencies_ms(measured: Measured) -> list[float]:
    """Milliseconds of each good answer that came in the window."""
    return [
        (asked.ended - asked.began) * 1000
        for asked in measured.asked
        if asked.reply.status == OK and 0 <= asked.ended <= measured.window
    ]


def agreement(one: dict[int, str], other: dict[int, str]) -> tuple[float, int]:
    """The share of pictures that got the same text from both, and how many both have seen."""
    common = one.keys() & other.keys()
    equal = sum(one[picture] == other[picture] for picture in common)
    return (equal / len(common) if common else 0.0), len(common)


def _share(began: float, ended: float, window: float) -> float:
    """The part of a request's time that lies in the window, 0 to 1."""
    inside = min(ended, window) - max(began, 0.0)
    return max(0.0, inside) / max(ended - began, 1e-9)
