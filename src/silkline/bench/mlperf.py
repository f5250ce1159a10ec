"""MLPerf Inference's scenarios of the product-catalogue task, as a load test can follow them.

Rules of round 6.1: https://github.com/mlcommons/inference/tree/master/multimodal/qwen3-vl; what
differs here stands in docs/mlperf.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from silkline.bench.percentiles import ranked
from silkline.bench.record import Run
from silkline.bench.spec import Arrivals

MIN_SECONDS = 600.0
"""Minimum length of a valid run."""

WITHIN = 0.99
"""Minimum share of requests that must be answered within the limit."""

QUALITY = 0.99
"""Minimum score, as a share of the reference's."""

RECORD = {"offline": 79.0, "server": 68.0}
"""Published results in samples a second: Qwen3-VL-235B-A22B on the real data set, on many GPUs."""

_STEPS = 5
"""Trials of the search for the highest rate."""

_TRIAL_SHARE = 0.2
"""Length of a trial, as a share of the run's."""

_BACK_OFF = 0.95
"""Factor of the rate after a full run that did not hold."""

_ATTEMPTS = 3

_MAX_LATENESS = 0.1
"""Maximum P99 in seconds by which the generator may send a request late."""

_CACHED = {"hit", "coalesced", "near"}


class Scenario(StrEnum):
    """How requests arrive."""

    OFFLINE = "offline"
    SERVER = "server"
    INTERACTIVE = "interactive"

    @property
    def limit(self) -> float | None:
        """Seconds within which 99% of requests must be answered; None if there is no limit."""
        return {Scenario.SERVER: 12.0, Scenario.INTERACTIVE: 1.5}.get(self)


class Outcome(msgspec.Struct, frozen=True):
    """The result of one scenario.

    Attributes:
        scenario: The scenario.
        per_second: Answers a second offline; else the rate at which requests arrived. 0 if none
            held.
        p50: Median latency in seconds; 0 if there was no answer.
        p99: The 99th percentile of the latency in seconds; likewise.
        within: Share of all requests that were answered within the limit; 1 offline.
        requests: Requests that were sent.
        failed: Requests without an answer.
        seconds: Length of the run.
        tried: Rates that were tried, and whether each held.
        invalid: Why it is not a valid run; empty if it is one.
    """

    scenario: Scenario
    per_second: float
    p50: float
    p99: float
    within: float
    requests: int
    failed: int
    seconds: float
    tried: tuple[tuple[float, bool], ...]
    invalid: tuple[str, ...]


Play = Callable[[Arrivals], Awaitable[Run]]
"""Sends requests, and returns what was recorded."""


async def offline(play: Play, seconds: float, samples: int, clients: int, seed: int) -> Outcome:
    """Measures the throughput with a constant number of requests in flight.

    Args:
        play: Sends the requests.
        seconds: Length of the run.
        samples: Samples of the data set.
        clients: Requests in flight.
        seed: Seed of the order.
    """
    run = await play(Arrivals(1.0, seconds, seed=seed, clients=clients))
    ended = max((record.ended for record in run.records if record.ok), default=0.0)
    served = sum(record.ok for record in run.records)
    return _outcome(Scenario.OFFLINE, run, served / ended if ended else 0.0, samples, ())


async def server(
    scenario: Scenario, play: Play, seconds: float, samples: int, highest: float, seed: int
) -> Outcome:
    """Finds the highest rate of Poisson arrivals at which the latency limit holds.

    Short trials bisect the rates up to `highest`; a run of full length then decides, at a lower
    rate if it does not hold.

    Args:
        scenario: Server or interactive.
        play: Sends the requests.
        seconds: Length of the run.
        samples: Samples of the data set.
        highest: Requests a second that cannot be exceeded: the throughput offline.
        seed: Seed of the arrivals and of the order.
    """
    tried: list[tuple[float, bool]] = []
    low, high = 0.0, highest
    for _ in range(_STEPS):
        rate = (low + high) / 2
        run = await play(Arrivals(rate, seconds * _TRIAL_SHARE, seed=seed))
        held = bool(run.records) and within(run, scenario) >= WITHIN
        tried.append((rate, held))
        low, high = (rate, high) if held else (low, rate)
    rate = low or high
    while True:
        run = await play(Arrivals(rate, seconds, seed=seed))
        held = within(run, scenario) >= WITHIN
        tried.append((rate, held))
        if held or len(tried) == _STEPS + _ATTEMPTS:
            break
        rate *= _BACK_OFF
    return _outcome(scenario, run, rate if held else 0.0, samples, tuple(tried))


def within(run: Run, scenario: Scenario) -> float:
    """The share of all requests that were answered within the scenario's limit."""
    limit = scenario.limit
    good = sum(record.ok and (limit is None or record.latency <= limit) for record in run.records)
    return good / max(1, len(run.records))


def _outcome(
    scenario: Scenario,
    run: Run,
    per_second: float,
    samples: int,
    tried: tuple[tuple[float, bool], ...],
) -> Outcome:
    records = run.records
    latencies = sorted(record.latency for record in records if record.ok)
    seconds = run.spec.arrivals.seconds
    return Outcome(
        scenario=scenario,
        per_second=per_second,
        p50=ranked(latencies, 0.5),
        p99=ranked(latencies, WITHIN),
        within=within(run, scenario),
        requests=len(records),
        failed=sum(not record.ok for record in records),
        seconds=seconds,
        tried=tried,
        invalid=tuple(_invalid(scenario, run, samples)),
    )


def _invalid(scenario: Scenario, run: Run, samples: int) -> list[str]:
    records, seconds = run.records, run.spec.arrivals.seconds
    found = []
    if seconds < MIN_SECONDS:
        found.append(f"it took {seconds:.0f} s of the {MIN_SECONDS:.0f} s that the rules ask for")
    if len(records) < samples:
        found.append(f"{len(records)} requests are fewer than the {samples} samples")
    if cached := sum(record.cache in _CACHED for record in records):
        found.append(f"{cached} answers came from a cache")
    if failed := sum(not record.ok for record in records):
        found.append(f"{failed} requests failed")
    if (share := within(run, scenario)) < WITHIN and scenario.limit is not None:
        found.append(f"{share:.2%} of requests were answered within {scenario.limit:g} s, not 99%")
    late = ranked(sorted(record.lateness for record in records), WITHIN)
    if scenario.limit is not None and late > _MAX_LATENESS:
        found.append(f"the load generator was {late:.2f} s late")
    return found
