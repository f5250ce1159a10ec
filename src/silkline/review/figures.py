"""The figures of a month, each computed from its records alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from silkline.config import Settings
from silkline.errors import SERVER_FAULTS
from silkline.gateway.history.entry import Entry
from silkline.observe.objectives import Objective, shares
from silkline.review.records import Records

CACHED = frozenset({"hit", "coalesced", "near"})
HOUR = 3600.0
DAY = 24 * HOUR
_OK = 200
_ENGINE_STAGES = ("prefill", "generate")


class Attained(msgspec.Struct, frozen=True):
    """An objective.

    Attributes:
        questions: Questions that count for it.
        misses: Those that missed it.
        target: The share that must meet it.
    """

    questions: int
    misses: int
    target: float

    @property
    def share(self) -> float | None:
        """The share that met it; None without questions."""
        return 1 - self.misses / self.questions if self.questions else None

    @property
    def budget_left(self) -> float | None:
        """The share of the error budget that is left; negative if it is overdrawn."""
        if not self.questions:
            return None
        return 1 - self.misses / (self.questions * (1 - self.target))


class Spread(msgspec.Struct, frozen=True):
    """A distribution of seconds: count, mean and percentiles by nearest rank."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


class Figures(msgspec.Struct, frozen=True):
    """The figures of a month.

    Attributes:
        questions: Requests whose question was understood.
        answers: Those that were answered.
        images: Images of the answered ones.
        products: Different images among them.
        computed: Answers that an engine computed.
        failed: Questions that the server failed (5xx).
        errors: Requests by the code of the error that ended them.
        begin: Unix time of the first request; 0 without any.
        end: Unix time of the last one.
        cost_per_thousand: Price of the machine for a thousand answers; None if unknown.
        cache_saved: What the cached answers would have cost, at a computed answer's price.
        rewards: Requests with feedback.
        accepted: Share of them with the full reward.
        objectives: The service level objectives by name.
        latency: Seconds of an answer.
        stages: Seconds in each stage, of the answers that had it.
        engine_seconds: Seconds that answers spent in engines.
        peak_engine: Answers in the engines at once, mean of the busiest hour.
        peak_hour: Unix time at which that hour began.
        prompt_tokens: Tokens of the prompts.
        completion_tokens: Tokens of the answers.
        canary_runs: Runs of the canary set.
        canary_changed: Runs in which an answer had changed or failed.
        canary_score: Mean score of the runs.
        windows: Windows of traffic that were compared.
        drifted: Windows that drifted, by feature.
    """

    questions: int
    answers: int
    images: int
    products: int
    computed: int
    failed: int
    errors: dict[str, int]
    begin: float
    end: float
    cost_per_thousand: float | None
    cache_saved: float | None
    rewards: int
    accepted: float | None
    objectives: dict[str, Attained]
    latency: Spread | None
    stages: dict[str, Spread]
    engine_seconds: float
    peak_engine: float
    peak_hour: float
    prompt_tokens: int
    completion_tokens: int
    canary_runs: int
    canary_changed: int
    canary_score: float | None
    windows: int
    drifted: dict[str, int]

    @property
    def hours(self) -> float:
        """Hours from the first request to the last one."""
        return (self.end - self.begin) / HOUR

    @property
    def mean_engine(self) -> float:
        """Answers in the engines at once, mean of all hours."""
        return self.engine_seconds / (self.hours * HOUR) if self.hours else 0.0


def figures_of(records: Records, settings: Settings) -> Figures:
    """Computes the figures of a month."""
    entries = records.entries
    asked = [one for one in entries if one.asked is not None]
    answered = [one for one in asked if is_answered(one)]
    computed = [one for one in answered if one.cache not in CACHED]
    by_hour = engine_seconds_by(entries, HOUR)
    peak = max(by_hour, key=by_hour.__getitem__, default=0)
    price = settings.monitoring.machine_price
    begin, end = (entries[0].at, entries[-1].at) if entries else (0.0, 0.0)
    spent = price * (end - begin) / HOUR
    has_price = bool(price and computed)
    rewards, runs = records.rewards, records.past.runs
    scores = [run.score for run in runs if run.score is not None]
    return Figures(
        questions=len(asked),
        answers=len(answered),
        images=sum(len(one.images) for one in answered),
        products=len({image.digest for one in answered for image in one.images}),
        computed=len(computed),
        failed=sum(one.error in SERVER_FAULTS for one in asked),
        errors=dict(Counter(one.error for one in entries if one.error).most_common()),
        begin=begin,
        end=end,
        cost_per_thousand=1000 * spent / len(answered) if has_price else None,
        cache_saved=spent / len(computed) * (len(answered) - len(computed)) if has_price else None,
        rewards=len(rewards),
        accepted=sum(value == 1 for value in rewards) / len(rewards) if rewards else None,
        objectives=_objectives(asked, answered, settings),
        latency=spread([one.seconds for one in answered]),
        stages=_stages(answered),
        engine_seconds=math.fsum(by_hour.values()),
        peak_engine=by_hour[peak] / HOUR if by_hour else 0.0,
        peak_hour=peak * HOUR,
        prompt_tokens=sum(one.usage.prompt_tokens for one in answered),
        completion_tokens=sum(one.usage.completion_tokens for one in answered),
        canary_runs=len(runs),
        canary_changed=sum(run.count("changed") + run.count("failed") > 0 for run in runs),
        canary_score=math.fsum(scores) / len(scores) if scores else None,
        windows=len(records.past.windows),
        drifted=_drifted(records),
    )


def is_answered(entry: Entry) -> bool:
    """Whether a question was answered completely."""
    return entry.status == _OK and not entry.error


def spread(values: Sequence[float]) -> Spread | None:
    """The distribution of values; None without any."""
    if not values:
        return None
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[math.ceil(share * len(ordered)) - 1]

    return Spread(len(ordered), math.fsum(ordered) / len(ordered), at(0.5), at(0.95), at(0.99))


def engine_seconds(entry: Entry) -> float:
    """Seconds that a computed answer spent in the engine."""
    if entry.cache in CACHED:
        return 0.0
    return math.fsum(entry.timeline.get(stage, 0.0) for stage in _ENGINE_STAGES)


def engine_seconds_by(entries: Iterable[Entry], seconds: float) -> dict[int, float]:
    """Seconds in the engines, by the index of the span of time in which a request arrived."""
    found: dict[int, float] = defaultdict(float)
    for entry in entries:
        found[int(entry.at // seconds)] += engine_seconds(entry)
    return found


def _objectives(
    asked: Sequence[Entry], answered: Sequence[Entry], settings: Settings
) -> dict[str, Attained]:
    slo, targets = settings.slo, shares(settings.slo)
    failed = sum(one.error in SERVER_FAULTS for one in asked)
    streams = [one for one in asked if one.first_token_seconds is not None]
    counted = {
        Objective.AVAILABILITY: (len(answered) + failed, failed),
        Objective.LATENCY: (
            len(answered),
            sum(one.seconds > slo.slo_latency_seconds for one in answered),
        ),
        Objective.FIRST_TOKEN: (
            len(streams),
            sum((one.first_token_seconds or 0) > slo.slo_first_token_seconds for one in streams),
        ),
    }
    return {
        objective.value: Attained(*counts, targets[objective])
        for objective, counts in counted.items()
    }


def _stages(answered: Sequence[Entry]) -> dict[str, Spread]:
    values: dict[str, list[float]] = defaultdict(list)
    for one in answered:
        for stage, seconds in one.timeline.items():
            values[stage].append(seconds)
    return {stage: found for stage, seen in values.items() if (found := spread(seen)) is not None}


def _drifted(records: Records) -> dict[str, int]:
    counts = Counter(
        name
        for window in records.past.windows
        for name, found in window.findings.items()
        if found.drifts
    )
    return dict(counts.most_common())
