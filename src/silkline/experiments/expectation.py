"""What an experiment will need, told before it starts and while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from silkline.config.experiments import ExperimentSettings
from silkline.experiments.bounded import AboveBound
from silkline.experiments.planning import arm_counts, fixed_observations, likely_observations
from silkline.experiments.verdict import FAILURES, LATENCY, MIN_OBSERVATIONS, REWARD
from silkline.report.numbers import span

POWER = 0.8
"""The chance with which a candidate that is as good as the model is promoted by then."""

ASSUMED_DEVIATION = 0.5
"""Of rewards, where no more is possible, and of the logarithm of seconds, until it is measured."""

_DAY_SECONDS = 86_400.0
_NEVER = 10**10
"""Requests that no experiment gets."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one requirement needs, if control and candidate are equally good.

    Attributes:
        requests: Of control and candidate together; None if no number suffices.
        single_look: The same for a test that is looked at once, when it ends.
        deviation: Standard deviation of one observation; None for failures.
        is_measured: Whether the deviation comes from this experiment's requests.
    """

    requests: int | None
    single_look: int | None
    deviation: float | None
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an experiment needs until it promotes a candidate that is as good as the model.

    Attributes:
        power: The chance that it needs no more.
        needs: Each requirement's need.
        requests: Of control and candidate; None if it cannot end.
        days: Days from now; None without a known rate of requests, or if it cannot end.
        told: The same in a sentence.
    """

    power: float
    needs: dict[str, Need]
    requests: int | None
    days: float | None
    told: str


def expect(
    settings: ExperimentSettings,
    *,
    deviations: Mapping[str, float] | None = None,
    seen: int = 0,
    share: float | None = None,
    rate: float | None = None,
) -> Expectation:
    """Returns what an experiment needs.

    Args:
        settings: The experiment.
        deviations: Measured standard deviations, by requirement.
        seen: Requests of control and candidate so far.
        share: The candidate's share now; None before the start.
        rate: Requests a second for the model, in the experiment or not; None if unknown.
    """
    needs = {FAILURES: _failures(settings)}
    for name, effect in _effects(settings).items():
        measured = (deviations or {}).get(name)
        needs[name] = _need(settings, effect, measured)
    counts = [need.requests for need in needs.values()]
    largest = None if None in counts else max(count for count in counts if count is not None)
    total = None if largest is None else _with_steps(settings, largest)
    days = None
    if largest is not None and rate:
        first = next(each for each in settings.ramp if each)  # 0 is a share of shadows only
        days = _days(settings, largest - seen, share or first, rate)
    return Expectation(POWER, needs, total, days, _told(settings, needs, total, days))


def _effects(settings: ExperimentSettings) -> dict[str, float]:
    """How far an equally good candidate is from what must be excluded."""
    effects = {LATENCY: math.log1p(settings.latency_margin)}
    if settings.needs_feedback or settings.goal == "better":
        effects[REWARD] = settings.reward_margin
    return effects


def _failures(settings: ExperimentSettings) -> Need:
    needed = AboveBound(1 - settings.max_failures).needed(settings.error_rate)
    return Need(_bounded(2 * needed), None, None, is_measured=True)


def _need(settings: ExperimentSettings, effect: float, measured: float | None) -> Need:
    deviation = measured or ASSUMED_DEVIATION
    if effect == 0:
        return Need(None, None, deviation, measured is not None)
    alpha, planned = settings.error_rate, settings.planned_observations
    likely = likely_observations(effect, deviation, planned, alpha, POWER)
    fixed = fixed_observations(effect, deviation, alpha, POWER)
    counts = [_bounded(sum(arm_counts(one, 0.5))) for one in (max(likely, MIN_OBSERVATIONS), fixed)]
    return Need(counts[0], counts[1], deviation, measured is not None)


def _bounded(requests: float) -> int | None:
    return round(requests) if requests < _NEVER else None


def _with_steps(settings: ExperimentSettings, needed: int) -> int:
    """Requests with those of the later shares: evidence comes first, at the first share."""
    first = max(needed, 2 * settings.step_requests)
    return first + 2 * settings.step_requests * (len(settings.ramp) - 1)


def _days(settings: ExperimentSettings, left: int, share: float, rate: float) -> float:
    here = max(left, 2 * settings.step_requests) / (2 * share)
    later = sum(settings.step_requests / each for each in settings.ramp if each > share)
    return (here + later) / rate / _DAY_SECONDS


def _told(
    settings: ExperimentSettings, needs: Mapping[str, Need], total: int | None, days: float | None
) -> str:
    if total is None:
        never = [name for name, need in needs.items() if need.requests is None]
        return (
            f"No number of requests proves {' and '.join(never)} with these margins: raise them, "
            "or let a person decide."
        )
    largest = max(needs, key=lambda name: needs[name].requests or 0)
    found = (
        f"A candidate as good as the model is promoted after at most {total:,} requests of "
        f"control and candidate, with a chance of {POWER:.0%}; most of them for {largest}"
    )
    if settings.goal == "better":
        found = found.replace("as good as the model", f"better by {settings.reward_margin:g}")
    if days is None:
        return f"{found}."
    told = f"{days:,.1f} days" if days > 1 else span(days * _DAY_SECONDS)
    found += f". At this rate of requests that is {told}"
    if days > settings.max_days:
        return f"{found}, too long: it ends undecided after {settings.max_days:g} days."
    return f"{found}."
