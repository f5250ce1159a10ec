"""Runs an evaluation: asks one or two subjects, scores and compares answers, writes the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from silkline.core import PixelBudget
from silkline.errors import SilklineError
from silkline.evaluate.compare import compare, differing, worst
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.metrics.catalogue import Metric
from silkline.evaluate.report.images import THUMBNAIL_PIXELS, data_url
from silkline.evaluate.report.page import SHOWN, Case, page
from silkline.evaluate.results import Comparison, Evaluation, Result, Scores
from silkline.evaluate.run import Step, run_items
from silkline.evaluate.subject import Subject
from silkline.evaluate.summary import score_replies, summarise
from silkline.ingress.intake import Intake
from silkline.service.local import create_intake
from silkline.service.pool import OnNotice
from silkline.service.results import write_results
from silkline.service.subject import SubjectSpec, open_subject, source_of

JOURNAL, FIGURES, PAGE = "answers.jsonl", "evaluation.json", "report.html"

OnProgress = Callable[[str, Step], None]
"""Called with the current activity and its progress."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What an evaluation asks, which subjects, and how it scores them.

    Attributes:
        subjects: One, or two to compare.
        dataset: The items.
        metrics: The first one decides the verdict.
        folder: Folder of the journal, the figures and the page.
        seed: Seed of the resampling.
    """

    subjects: tuple[SubjectSpec, ...]
    dataset: Dataset
    metrics: Sequence[Metric]
    folder: Path
    seed: int


@dataclass(frozen=True, slots=True)
class Side:
    """One subject's replies and their scores."""

    replies: Sequence[Reply]
    scores: Scores
    result: Result


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation with the replies that it rests on.

    Attributes:
        evaluation: The figures.
        sides: The subjects, in the order of the plan.
        cases: The items for a report to show.
    """

    evaluation: Evaluation
    sides: Sequence[Side]
    cases: Sequence[Case]


async def evaluate(
    plan: EvaluationPlan, on_progress: OnProgress, on_notice: OnNotice
) -> Evaluation:
    """Evaluates as `evaluated` does, and writes the figures and the page beside the journal.

    Raises:
        ConfigError: As `evaluated` does.
        EnvironmentFault: As `evaluated` does, or a file cannot be written.
    """
    found = await evaluated(plan, on_progress, on_notice)
    html = page(found.evaluation, found.cases)
    write_results(plan.folder, {FIGURES: found.evaluation}, {PAGE: html})
    return found.evaluation


async def evaluated(
    plan: EvaluationPlan, on_progress: OnProgress, on_notice: OnNotice
) -> Evaluated:
    """Asks the subjects and compares their answers; writes each answer into the journal.

    Args:
        plan: What to ask, which subjects, and how to score them.
        on_progress: Called after each reply.
        on_notice: Called with notices for the user.

    Raises:
        ConfigError: A subject's model is unknown, or no engine can serve it.
        EnvironmentFault: A server cannot be reached, or the journal cannot be written.
    """
    sides: list[Side] = []
    asked: list[Subject] = []
    items = plan.dataset.items
    async with create_intake(plan.subjects[0].settings) as intake:
        with Journal(plan.folder / JOURNAL) as journal:
            for name, spec in zip("AB", plan.subjects, strict=False):
                on_progress(f"starting {name}", Step(len(items), 0, 0, 0))
                on_step = _named(on_progress, name)
                side = await _ask(plan, spec, intake, journal, asked, on_step, on_notice)
                sides.append(side)
                asked.append(side.result.subject)
        evaluation = Evaluation(
            dataset=plan.dataset.name,
            digest=plan.dataset.digest,
            items=len(items),
            seed=plan.seed,
            results=[side.result for side in sides],
            comparison=_compared(plan, sides),
            duplicates=plan.dataset.duplicates,
        )
        return Evaluated(evaluation, sides, await _cases(plan, sides, intake))


async def _ask(
    plan: EvaluationPlan,
    spec: SubjectSpec,
    intake: Intake,
    journal: Journal,
    before: Sequence[Subject],
    on_progress: Callable[[Step], None],
    on_notice: OnNotice,
) -> Side:
    items = plan.dataset.items
    settings = spec.settings
    at_once = min(settings.engine.max_batch, settings.admission.max_queue)
    async with open_subject(spec, intake, on_notice) as asker:
        subject = asker.subject()
        same = sum(earlier.fingerprint == subject.fingerprint for earlier in before)
        subject = msgspec.structs.replace(subject, take=same)
        replies = await run_items(items, subject, asker, journal, at_once, on_progress)
    scores = score_replies(items, replies, plan.metrics)
    return Side(replies, scores, summarise(subject, replies, plan.metrics, scores, plan.seed))


def _compared(plan: EvaluationPlan, sides: Sequence[Side]) -> Comparison | None:
    if len(sides) == 1:
        return None
    first, second = sides
    return compare(
        plan.dataset.items,
        (first.replies, second.replies),
        plan.metrics,
        (first.scores, second.scores),
        plan.seed,
    )


async def _cases(plan: EvaluationPlan, sides: Sequence[Side], intake: Intake) -> list[Case]:
    """The items that the report shows, with their images."""
    cases = []
    for index in _shown_indices(plan, sides):
        item = plan.dataset.items[index]
        cases.append(
            Case(
                item=item,
                replies=tuple(side.replies[index] for side in sides),
                image=await _thumbnail(item, intake, plan.subjects[0]),
            )
        )
    return cases


def _shown_indices(plan: EvaluationPlan, sides: Sequence[Side]) -> list[int]:
    items = plan.dataset.items
    if len(sides) == 1:
        perfect = {metric.name: [metric.highest] * len(items) for metric in plan.metrics}
        return worst(items, plan.metrics, (perfect, sides[0].scores), SHOWN)
    first, second = sides
    if not plan.metrics:
        return differing(items, (first.replies, second.replies), SHOWN)
    return worst(items, plan.metrics, (first.scores, second.scores), SHOWN)


async def _thumbnail(item: Item, intake: Intake, spec: SubjectSpec) -> str:
    """The image as a data URL; empty if it cannot be loaded."""
    try:
        source = source_of(item.image, spec.settings.limits.max_image_bytes)
        taken = await intake.take((source,), PixelBudget(max_pixels=THUMBNAIL_PIXELS), b"")
    except SilklineError:
        return ""  # the item's reply has the error
    return data_url(taken.images[0])


def _named(on_progress: OnProgress, name: str) -> Callable[[Step], None]:
    return lambda step: on_progress(f"asking {name}", step)
