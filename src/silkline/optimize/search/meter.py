"""Measures a candidate: asks it a sample of the selection, beside the baseline's answers."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from silkline.errors import SilklineError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.metrics.catalogue import Metric
from silkline.evaluate.results import Scores
from silkline.evaluate.run import Step, run_items
from silkline.evaluate.significance import student
from silkline.evaluate.summary import score_replies
from silkline.ingress.intake import Intake
from silkline.models.gate import Verdict
from silkline.optimize.quality import QualityJudge
from silkline.optimize.requirements import QUALITY, Kind, Requirement
from silkline.optimize.search.trial import Names, Trial
from silkline.optimize.size import size_of
from silkline.optimize.speed import judge_amount
from silkline.service.pool import OnNotice
from silkline.service.served import peak_bytes
from silkline.service.subject import GatewayAsker, SubjectSpec, open_subject


@dataclass(frozen=True, slots=True)
class Asked:
    """What a subject answered.

    Attributes:
        items: The items, in order.
        replies: Its replies.
        scores: Their scores.
        size: Bytes of its weights; None if unknown.
        memory: Peak memory of its engine in bytes; None if unknown.
        seconds: Time to load it and to ask.
    """

    items: Sequence[Item]
    replies: Sequence[Reply]
    scores: Scores
    size: int | None
    memory: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Meter:
    """Asks subjects and compares them with the baseline.

    Attributes:
        selection: The items to ask, in this order.
        metrics: The metrics, the main one first.
        requirements: What must hold; those on speed are for the confirmation.
        confidence: Confidence of each one-sided test.
        at_once: Requests in flight.
        journal: Keeps the answers.
        intake: Loads the images.
        on_notice: Called with notices for the user.
    """

    selection: Dataset
    metrics: Sequence[Metric]
    requirements: Sequence[Requirement]
    confidence: float
    at_once: int
    journal: Journal
    intake: Intake
    on_notice: OnNotice

    async def ask(self, spec: SubjectSpec, count: int, on_step: Callable[[Step], None]) -> Asked:
        """Asks a subject the first `count` items of the selection.

        Answers that the journal has are not asked for again; their times count as they were.

        Raises:
            ConfigError: The model cannot be served.
            EnvironmentFault: It does not start, or the journal cannot be written.
        """
        items, began = self.selection.items[:count], time.monotonic()
        async with open_subject(spec, self.intake, self.on_notice) as asker:
            subject = asker.subject()
            await self._warm(asker, items)
            replies = await run_items(items, subject, asker, self.journal, self.at_once, on_step)
            memory = peak_bytes(os.getpid())
        return Asked(
            items=items,
            replies=replies,
            scores=score_replies(items, replies, self.metrics),
            size=await size_of(spec, subject.engine),
            memory=memory,
            seconds=time.monotonic() - began,
        )

    def compare(self, names: Names, baseline: Asked, found: Asked, build_seconds: float) -> Trial:
        """A candidate's trial."""
        speed, low, high = _speed(baseline.replies, found.replies)
        median = _median(found.replies)
        judge = self._judge(baseline, found)
        drops = [
            (each.margin, drop)
            for each in self.requirements
            if each.kind in QUALITY and (drop := judge.drop(each)) is not None
        ]
        main = next(iter(self.metrics), None)
        score = None if main is None else statistics.fmean(found.scores[main.name])
        return Trial(
            names=names,
            items=len(found.items),
            problem=self._problem(judge, baseline, found),
            speed=speed,
            low=low,
            high=high,
            seconds=median,
            throughput=self.at_once / median if median else 0.0,
            worse=min((drop.p_more(margin) for margin, drop in drops), default=1.0),
            kept=max((drop.p_less(margin) for margin, drop in drops), default=0.0),
            drop=self._drop(baseline, found),
            score=score,
            size=found.size,
            memory=found.memory,
            build_seconds=build_seconds,
            ask_seconds=found.seconds,
        )

    async def _warm(self, asker: GatewayAsker, items: Sequence[Item]) -> None:
        """Asks once without counting: an engine's first answers are slower."""

        async def once(item: Item) -> None:
            with suppress(SilklineError):
                await asker.ask(item)

        await asyncio.gather(*map(once, items[: self.at_once]))

    def _judge(self, baseline: Asked, found: Asked) -> QualityJudge:
        return QualityJudge(
            found.items,
            (baseline.replies, found.replies),
            (baseline.scores, found.scores),
            self.confidence,
        )

    def _problem(self, judge: QualityJudge, baseline: Asked, found: Asked) -> str:
        """Which requirement is clearly violated on these items; empty if none is."""
        if unanswered := sum(reply.answer is None for reply in found.replies):
            first = next(reply for reply in found.replies if reply.answer is None)
            return f"{unanswered} of {len(found.items)} items got no answer: {first.message}"
        for requirement in self.requirements:
            findings = []
            if requirement.kind in QUALITY:
                findings = list(judge.judge(requirement).findings)
            elif requirement.kind is Kind.SIZE:
                findings = [judge_amount(requirement, (baseline.size, found.size))]
            for finding in findings:
                if finding.verdict is Verdict.REFUSED:
                    return f"{finding.requirement}: {finding.reason}"
        return ""

    def _drop(self, baseline: Asked, found: Asked) -> float:
        """Share of the main metric that is lost; without references, of the answers that change."""
        main = next(iter(self.metrics), None)
        if main is None:
            pairs = zip(baseline.replies, found.replies, strict=True)
            return statistics.fmean(a.answer != b.answer for a, b in pairs)
        before, after = (statistics.fmean(side.scores[main.name]) for side in (baseline, found))
        return (before - after) / main.highest


def _median(replies: Sequence[Reply]) -> float:
    seconds = [reply.seconds for reply in replies if reply.answer is not None]
    return statistics.median(seconds) if seconds else 0.0


def _speed(baseline: Sequence[Reply], found: Sequence[Reply]) -> tuple[float, float, float]:
    """The geometric mean of the speeds by item, with Student's interval."""
    ratios = [
        math.log(a.seconds / b.seconds)
        for a, b in zip(baseline, found, strict=True)
        if a.answer is not None and b.answer is not None and a.seconds > 0 and b.seconds > 0
    ]
    if len(ratios) < 2:  # noqa: PLR2004 - an interval needs two
        return 1.0, 0.0, math.inf
    mean = statistics.fmean(ratios)
    margin = student(len(ratios) - 1) * statistics.stdev(ratios) / math.sqrt(len(ratios))
    return math.exp(mean), math.exp(mean - margin), math.exp(mean + margin)
