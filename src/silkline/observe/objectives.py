"""Counts which questions met the service level objectives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

from silkline.config import SloSettings
from silkline.observe.catalogue import SLO_MISSES, SLO_OBJECTIVE, SLO_QUESTIONS
from silkline.observe.declared import Reading


class Objective(StrEnum):
    """A service level objective."""

    AVAILABILITY = "availability"
    """The server does not fail the question (5xx). What a client caused (4xx) does not count."""
    LATENCY = "latency"
    """A complete answer is fast; failed questions do not count."""
    FIRST_TOKEN = "first_token"  # noqa: S105 - no password
    """The first token of a stream comes fast."""


def shares(slo: SloSettings) -> dict[Objective, float]:
    """The share of the questions that must meet each objective."""
    return {
        Objective.AVAILABILITY: slo.slo_availability,
        Objective.LATENCY: slo.slo_latency_share,
        Objective.FIRST_TOKEN: slo.slo_first_token_share,
    }


class Objectives:
    """The counts since the start, by model."""

    def __init__(self, slo: SloSettings) -> None:
        self._slo = slo
        self._questions: Counter[tuple[str, Objective]] = Counter()
        self._misses: Counter[tuple[str, Objective]] = Counter()

    def answered(self, model: str, seconds: float) -> None:
        """Counts a question that was answered completely."""
        self._count(model, Objective.AVAILABILITY, missed=False)
        self._count(model, Objective.LATENCY, missed=seconds > self._slo.slo_latency_seconds)

    def failed(self, model: str) -> None:
        """Counts a question that the server failed."""
        self._count(model, Objective.AVAILABILITY, missed=True)

    def first_token(self, model: str, seconds: float) -> None:
        """Counts a stream whose first token came after this time."""
        missed = seconds > self._slo.slo_first_token_seconds
        self._count(model, Objective.FIRST_TOKEN, missed=missed)

    def readings(self, models: Iterable[str]) -> Iterator[Reading]:
        """The counts, also the zeros of models that were not asked yet.

        A counter that appears with its first miss would hide that miss from `increase()`.
        """
        counted = {model for model, _ in self._questions}
        for model in sorted(counted | set(models)):
            for objective in Objective:
                key, labels = (model, objective), (model, objective.value)
                yield SLO_QUESTIONS, labels, self._questions[key]
                yield SLO_MISSES, labels, self._misses[key]
        for objective, share in shares(self._slo).items():
            yield SLO_OBJECTIVE, (objective.value,), share

    def _count(self, model: str, objective: Objective, *, missed: bool) -> None:
        self._questions[model, objective] += 1
        self._misses[model, objective] += missed
