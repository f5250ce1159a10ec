"""Runs that were never played: records with known figures."""

from __future__ import annotations

from silkline.bench.record import Health, Record, Run
from silkline.bench.spec import Arrivals, Burst, Spec, Target, Traffic

SECONDS = 10.0


def record(number: int, *, target: int = 0, latency: float = 0.01, **fields: object) -> Record:
    """A request that was due at a tenth of its number and answered in time."""
    intended = number / 10
    values = {
        "sent": intended + 0.001,
        "first_byte": intended + latency / 2,
        "ended": intended + latency,
        "status": 200,
        "cache": "hit" if number % 2 else "miss",
        "stages": {"decode": latency / 4, "generate": latency / 2},
        "prompt_tokens": 70,
        "completion_tokens": 10,
        **fields,
    }
    return Record(number, target, number % 7, 0, intended, **values)  # type: ignore[arg-type]


def made_run(*records: Record, targets: int = 1) -> Run:
    """A run with these records."""
    names = [Target(name, f"http://127.0.0.1:{8000 + n}") for n, name in enumerate("AB"[:targets])]
    spec = Spec(
        tuple(names),
        Arrivals(10, SECONDS, Burst(2, 1, 5)),
        Traffic(catalogue=7, new=0.02),
        slice_seconds=1,
    )
    health = [Health(cpu_seconds=0.5, wall_seconds=10, opened=3) for _ in names]
    return Run(spec, "2026-11-22T12:00:00+00:00", "silkline-mini", health, list(records))


def good_run(targets: int = 1) -> Run:
    """A hundred answers for each target, the second's twice as slow."""
    records = [
        record(number, target=target, latency=(0.001 + number / 10_000) * (target + 1))
        for target in range(targets)
        for number in range(100)
    ]
    return made_run(*records, targets=targets)
