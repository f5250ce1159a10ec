"""Judges finalists on items that were not used for picking, so that the search costs no confidence.

The finalists are tested one after the other, the safest first, each at the full confidence, until
one fails on quality. The order was fixed by other items, so the probability of passing one that
violates a requirement is that of a single test (Maurer, Hothorn and Lehmacher, Multiple comparisons
in drug clinical trials and preclinical assays: a-priori ordered hypotheses, 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from silkline.bench.session import Step as LoadStep
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.report.cases import Case
from silkline.evaluate.run import Step
from silkline.models.gate import Verdict
from silkline.optimize.gate import Gated, GatePlan, judged
from silkline.optimize.gate import OnProgress as GateProgress
from silkline.optimize.requirements import QUALITY, SPEED
from silkline.optimize.search.plan import Confirmed, OnProgress, SearchPlan
from silkline.optimize.search.split import sample
from silkline.optimize.search.trial import Names, Trial
from silkline.service.pool import OnNotice
from silkline.service.subject import SubjectSpec

_START_SECONDS = 20.0
"""What starting two servers takes at most, for planning only."""


_FEWEST_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What was confirmed.

    Attributes:
        picked: The fastest finalist that passed; None if none did.
        confirmed: The finalists that were judged, in that order.
        gated: The gate of the picked one, else of the last that was judged.
        cases: The items that its report shows.
        items: Number of items.
    """

    picked: Names | None
    confirmed: Sequence[Confirmed]
    gated: Gated | None
    cases: Sequence[Case]
    items: int


async def confirm(
    plan: SearchPlan,
    dataset: Dataset,
    baseline: tuple[SubjectSpec, Trial],
    finalists: Sequence[tuple[SubjectSpec, Trial]],
    left: Callable[[], float],
    on_progress: OnProgress,
    on_notice: OnNotice,
) -> Confirmation:
    """Judges the finalists: the safest first, then only faster ones, until one loses quality.

    Args:
        plan: The search.
        dataset: The items that were not used for picking.
        baseline: What a finalist would replace, and its trial.
        finalists: The finalists and their trials.
        left: Returns the seconds that are left. They decide how many are judged, and at least one
            is: on fewer items if there is no time for all.
        on_progress: Called while it runs.
        on_notice: Called with notices for the user.

    Raises:
        SilklineError: What `judged` raises.
    """
    rate = baseline[1].throughput
    part = sample(dataset, _affordable(plan, rate, left()), plan.seed)
    if finalists and len(part.items) < len(dataset.items):
        on_notice(
            f"the finalists are judged on {len(part.items):,} of {len(dataset.items):,} items: "
            "the budget allows no more"
        )
    confirmed: list[Confirmed] = []
    best: _Judged | None = None
    last: _Judged | None = None
    for spec, trial in sorted(finalists, key=lambda each: (each[1].kept, -each[1].speed)):
        if last is not None and left() < _cost(plan, rate, len(part.items)):
            break
        if best is not None and trial.speed <= best.trial.speed:
            continue
        gating = GatePlan(
            candidate=spec,
            baseline=baseline[0],
            dataset=part,
            metrics=plan.metrics,
            requirements=plan.requirements,
            confidence=plan.confidence,
            load=plan.load,
            folder=plan.folder / "confirmation",
            seed=plan.seed,
        )
        gated, cases = await judged(gating, _shown(trial.label, on_progress), on_notice)
        last = _Judged(trial, gated, cases)
        confirmed.append(_confirmed(trial, gated))
        if gated.record.verdict is Verdict.PASSED:
            best = last
        if not _keeps_quality(plan, gated):
            break
    shown = best or last
    return Confirmation(
        picked=None if best is None else best.trial.names,
        confirmed=confirmed,
        gated=None if shown is None else shown.gated,
        cases=() if shown is None else shown.cases,
        items=len(part.items),
    )


class _Judged(NamedTuple):
    """A finalist with its gate."""

    trial: Trial
    gated: Gated
    cases: Sequence[Case]


def _cost(plan: SearchPlan, rate: float, items: int) -> float:
    """Seconds that a gate takes, roughly, once the baseline was asked."""
    loading = 2 * plan.load.seconds + _START_SECONDS
    asking = items / rate if rate else 0.0
    return asking + (loading if any(each.kind in SPEED for each in plan.requirements) else 0.0)


def _affordable(plan: SearchPlan, rate: float, seconds: float) -> int:
    """Items on which one gate fits into the time; both sides must be asked."""
    asking = max(0.0, seconds - _cost(plan, rate, 0))
    return max(_FEWEST_ITEMS, int(asking * rate / 2))


def _keeps_quality(plan: SearchPlan, gated: Gated) -> bool:
    """Whether the requirements on quality passed, slices included."""
    speed = {each.text for each in plan.requirements if each.kind not in QUALITY}
    return all(
        finding.verdict is Verdict.PASSED
        for finding in gated.record.findings
        if finding.requirement not in speed
    )


def _confirmed(trial: Trial, gated: Gated) -> Confirmed:
    record = gated.record
    about = " ".join(f"{each.requirement}: {each.reason}" for each in record.findings)
    speed = None
    if gated.load:
        before, after = (side.per_second(side.served) for side in gated.load)
        speed = after / before if before else None
    return Confirmed(trial.names, record.verdict, speed, about)


def _shown(label: str, on_progress: OnProgress) -> GateProgress:
    """Shows a gate's progress as the search's."""

    def asking(activity: str, step: Step) -> None:
        on_progress(f"confirming {label}", step.done, step.total, activity)

    def loading(step: LoadStep) -> None:
        on_progress(f"loading {label} and the baseline", step.done, step.total, step.target)

    return GateProgress(asking, loading)
