"""Fits a cascade of two models on a data set: asks both, fits the threshold, writes a report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from silkline.core import Stage
from silkline.distil.cascade_report.page import page
from silkline.distil.fit import Answered, Fitted, fit
from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import Metric
from silkline.service.evaluation import EvaluationPlan, OnProgress, Side, evaluated
from silkline.service.pool import OnNotice
from silkline.service.results import write_results
from silkline.service.subject import Confidence, SubjectSpec

FIGURES, PAGE = "cascade.json", "cascade.html"
AGREEMENT = "agreement"
"""The score where the data set has no references: the answer is the large model's."""


@dataclass(frozen=True, slots=True)
class CascadePlan:
    """What to fit.

    Attributes:
        small: The model that is asked first.
        large: The model that is asked where the small one is unsure.
        dataset: The items; neither model may have been trained on them.
        metrics: The first one is the score; none for agreement with the large model.
        folder: Folder of the journal, the figures and the page.
        keep: Share of the large model's score to keep.
        confidence: Of the test.
    """

    small: SubjectSpec
    large: SubjectSpec
    dataset: Dataset
    metrics: Sequence[Metric]
    folder: Path
    keep: float
    confidence: float


class CascadeFit(msgspec.Struct, frozen=True):
    """A fit, and what it rests on.

    Attributes:
        small: Name and revision of the small model.
        large: Name and revision of the large model.
        dataset: The data set's name.
        digest: Its digest.
        items: Number of items.
        images: Number of groups, such as images.
        metric: The score.
        fitted: The fit.
        seconds: Mean seconds in the engine for an answer of the small and the large model.
    """

    small: str
    large: str
    dataset: str
    digest: str
    items: int
    images: int
    metric: str
    fitted: Fitted
    seconds: tuple[float, float]

    @property
    def compute(self) -> float:
        """The cascade's time in engines as a share of the large model's."""
        small, large = self.seconds
        return small / large + self.fitted.chosen.escalated


async def fit_cascade(
    plan: CascadePlan, on_progress: OnProgress, on_notice: OnNotice
) -> CascadeFit:
    """Fits a cascade.

    Raises:
        ConfigError: A model is unknown, the small one does not report log-probabilities, an item
            got no answer, or the items are too few.
        EnvironmentFault: A server cannot be reached, or a file cannot be written.
    """
    sides = (replace(plan.small, confidence=Confidence.NEEDED), plan.large)
    asked = EvaluationPlan(sides, plan.dataset, plan.metrics, plan.folder, 0)
    found = await evaluated(asked, on_progress, on_notice)
    small, large = found.sides
    groups = [item.group for item in plan.dataset.items]
    first, second = _scores(plan, small, large)
    fitted = fit(Answered(_confidences(small), first, second, groups), plan.keep, plan.confidence)
    result = CascadeFit(
        small=small.result.subject.model,
        large=large.result.subject.model,
        dataset=plan.dataset.name,
        digest=plan.dataset.digest,
        items=len(groups),
        images=len(set(groups)),
        metric=plan.metrics[0].name if plan.metrics else AGREEMENT,
        fitted=fitted,
        seconds=(_seconds(small.replies), _seconds(large.replies)),
    )
    write_results(plan.folder, {FIGURES: result}, {PAGE: page(result)})
    return result


def _confidences(side: Side) -> list[float]:
    if side.result.failures:
        count = sum(side.result.failures.values())
        raise ConfigError(
            f"{count:,} items got no answer. Run the same command again: it asks only for these."
        )
    return [1.0 if reply.confidence is None else reply.confidence for reply in side.replies]


def _scores(plan: CascadePlan, small: Side, large: Side) -> tuple[list[float], list[float]]:
    _confidences(large)
    if not plan.metrics:
        pairs = zip(small.replies, large.replies, strict=True)
        return [float(a.answer == b.answer) for a, b in pairs], [1.0] * len(large.replies)
    metric = plan.metrics[0]
    first, second = (
        [value / metric.highest for value in side.scores[metric.name]] for side in (small, large)
    )
    return first, second


def _seconds(replies: Sequence[Reply]) -> float:
    stages = (Stage.PREFILL, Stage.GENERATE)
    return statistics.fmean(
        sum(reply.stages.get(stage, 0.0) for stage in stages) for reply in replies
    )
