"""Judges the requirements on speed, memory and size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from silkline.bench.percentiles import percentile
from silkline.bench.record import Record, Run
from silkline.evaluate.significance import student
from silkline.models.gate import Finding, Verdict
from silkline.optimize.load import Loaded
from silkline.optimize.requirements import Kind, Requirement
from silkline.report.numbers import mebibytes, span

_FEWEST_TURNS = 3
_WORDS = {
    Kind.LATENCY: "latency",
    Kind.FIRST_TOKEN: "time to the first token",
    Kind.THROUGHPUT: "throughput",
    Kind.MEMORY: "peak memory",
    Kind.SIZE: "size",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its one-sided interval; the ends are infinite if nothing bounds them."""

    value: float
    low: float
    high: float


def judge_speed(requirement: Requirement, loaded: Loaded, confidence: float) -> Finding:
    """Judges a requirement that is measured under load.

    A percentile in seconds has the interval of its order statistics; a comparison with the
    baseline, and a throughput, that of Student over the turns. A failed request of the candidate
    counts as endless; one of the baseline is left out of a comparison of percentiles.

    Args:
        requirement: A requirement on latency, throughput or memory.
        loaded: The baseline's and the candidate's requests.
        confidence: Confidence of each one-sided end.
    """
    if requirement.kind is Kind.MEMORY:
        return judge_amount(requirement, loaded.memory)
    return _finding(requirement, _measured(requirement, loaded.run, confidence), confidence)


def judge_amount(requirement: Requirement, sides: tuple[int | None, int | None]) -> Finding:
    """Judges a number of bytes, which has no interval.

    Args:
        requirement: A requirement on size or memory.
        sides: Bytes of the baseline and the candidate; None where they are unknown.
    """
    baseline, candidate = sides
    if candidate is None or (requirement.relative and not baseline):
        reason = f"The {_WORDS[requirement.kind]} cannot be measured here."
        return Finding(requirement.text, Verdict.UNDECIDED, reason)
    value = candidate / baseline if requirement.relative and baseline else float(candidate)
    passed = value <= requirement.limit
    shown = f"{value:.3f} times the baseline's" if requirement.relative else mebibytes(value)
    reason = f"The {_WORDS[requirement.kind]} is {shown}."
    return Finding(
        requirement.text, Verdict.PASSED if passed else Verdict.REFUSED, reason, value, value, value
    )


def _measured(requirement: Requirement, run: Run, confidence: float) -> Measured:
    reading = _reading(requirement)
    if requirement.relative:
        turns = [_turns(run, target) for target in (0, 1)]
        if requirement.share:  # or a baseline that fails would make the candidate fast
            turns[0] = [[record for record in turn if record.ok] for turn in turns[0]]
        pairs = [(reading(second), reading(first)) for first, second in zip(*turns, strict=True)]
        usable = [
            math.log(one / other)
            for one, other in pairs
            if 0 < one < math.inf and 0 < other < math.inf
        ]
        if len(usable) < len(pairs):  # a turn without answers decides nothing
            return Measured(math.nan, 0.0, math.inf)
        found = _over_turns(usable, confidence)
        return Measured(*map(math.exp, (found.value, found.low, found.high)))
    if requirement.kind is Kind.THROUGHPUT:
        return _over_turns([reading(turn) for turn in _turns(run, 1)], confidence)
    return order_interval(_seconds(requirement, run.of(1)), requirement.share, confidence)


def _reading(requirement: Requirement) -> Callable[[Sequence[Record]], float]:
    if requirement.kind is Kind.THROUGHPUT:
        return _rate
    return lambda records: percentile(_seconds(requirement, records), requirement.share)


def _seconds(requirement: Requirement, records: Sequence[Record]) -> list[float]:
    if requirement.kind is Kind.LATENCY:
        return [record.latency if record.ok else math.inf for record in records]
    return [
        record.first_token - record.intended if record.ok and record.first_token else math.inf
        for record in records
    ]


def _rate(records: Sequence[Record]) -> float:
    """Answers per second of a turn, until its last request ended."""
    if not records:
        return 0.0
    seconds = max(record.ended for record in records) - min(each.intended for each in records)
    return sum(record.ok for record in records) / max(seconds, 1e-9)


def _turns(run: Run, target: int) -> list[list[Record]]:
    """A side's requests, by its turns."""
    seconds = run.spec.arrivals.seconds
    count = max(1, round(seconds / run.spec.slice_seconds))
    turns: list[list[Record]] = [[] for _ in range(count)]
    for record in run.of(target):
        turns[min(count - 1, int(record.intended * count / seconds))].append(record)
    return turns


def _over_turns(values: Sequence[float], confidence: float) -> Measured:
    """A mean with Student's interval."""
    if len(values) < _FEWEST_TURNS:
        return Measured(statistics.fmean(values), -math.inf, math.inf)
    mean = statistics.fmean(values)
    error = statistics.stdev(values, mean) / math.sqrt(len(values))
    margin = student(len(values) - 1, confidence) * error
    return Measured(mean, mean - margin, mean + margin)


def order_interval(values: Sequence[float], share: float, confidence: float) -> Measured:
    """A percentile with an interval that holds for any distribution of independent values.

    The ends are measured values whose ranks follow from the binomial distribution: Conover,
    Practical Nonparametric Statistics, 1999, section 3.2. With too few values there is no end.
    """
    ordered, count = sorted(values), len(values)
    if not ordered:
        return Measured(math.inf, 0.0, math.inf)
    low, high, below = 0.0, math.inf, 0.0
    for number in range(count + 1):  # `number` values are below the percentile
        if 1 - below >= confidence and number:
            low = ordered[number - 1]
        below += _binomial(count, number, share)
        if below >= confidence and number < count:
            high = ordered[number]
            break
    return Measured(percentile(values, share), low, high)


def _binomial(count: int, number: int, share: float) -> float:
    log = (
        math.lgamma(count + 1)
        - math.lgamma(number + 1)
        - math.lgamma(count - number + 1)
        + number * math.log(share)
        + (count - number) * math.log(1 - share)
    )
    return math.exp(log)


def _finding(requirement: Requirement, measured: Measured, confidence: float) -> Finding:
    limit, is_lower_bound = requirement.limit, requirement.kind is Kind.THROUGHPUT
    passes = measured.low >= limit if is_lower_bound else measured.high <= limit
    fails = measured.high < limit if is_lower_bound else measured.low > limit
    verdict = Verdict.PASSED if passes else Verdict.REFUSED if fails else Verdict.UNDECIDED
    value, low, high = (
        _shown(requirement, each) for each in (measured.value, measured.low, measured.high)
    )
    unit = " per second" if requirement.kind is Kind.THROUGHPUT else ""
    unit = " times the baseline's" if requirement.relative else unit
    reason = f"The {_WORDS[requirement.kind]} is {value}{unit}, between {low} and {high}."
    if verdict is Verdict.UNDECIDED:
        reason += " Too few requests to tell: load it longer with --for."
        if requirement.share and not requirement.relative:
            reason += f" {_fewest(requirement.share, confidence)} requests are the minimum."
    ends = (
        each if math.isfinite(each) else None
        for each in (measured.value, measured.low, measured.high)
    )
    return Finding(requirement.text, verdict, reason, *ends)


def _fewest(share: float, confidence: float) -> int:
    """The number of values from which a percentile has an upper end."""
    return math.ceil(math.log(1 - confidence) / math.log(share))


def _shown(requirement: Requirement, value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    if requirement.relative:
        return f"{value:.3f}"
    return f"{value:.2f}" if requirement.kind is Kind.THROUGHPUT else span(value)
