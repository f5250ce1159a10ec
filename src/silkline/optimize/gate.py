"""Runs a gate: may a candidate replace a baseline?

Both answer the data set, both are loaded side by side, each requirement is judged, and the verdict
goes into the candidate's bundle. Answers are kept in a journal, so that a stopped gate continues;
the load is always measured in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from silkline.bench.session import Step as LoadStep
from silkline.bench.summary import Summary, summarise
from silkline.engines.machine import this_machine
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.metrics.catalogue import Metric
from silkline.evaluate.report.cases import Case
from silkline.evaluate.results import Evaluation
from silkline.evaluate.run import Step
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.gate import Finding, GateRecord, Verdict, check_listed, content_digest
from silkline.models.resolve import BUNDLED_MODEL
from silkline.optimize.calibration import without
from silkline.optimize.image_tokens import judge_image_tokens
from silkline.optimize.load import Load, Loaded, check_loadable, load_both
from silkline.optimize.quality import QualityJudge, SliceDrop
from silkline.optimize.record import write_gate
from silkline.optimize.report.page import gate_page
from silkline.optimize.requirements import QUALITY, SPEED, Kind, Requirement
from silkline.optimize.size import size_of
from silkline.optimize.speed import judge_amount, judge_speed
from silkline.service.evaluation import Evaluated, EvaluationPlan, evaluated
from silkline.service.pool import OnNotice, choose_engine
from silkline.service.results import write_results
from silkline.service.subject import Confidence, SubjectSpec, bundle_of

FIGURES, PAGE = "gate.json", "gate.html"


@dataclass(frozen=True, slots=True)
class OnProgress:
    """Callbacks for progress: while questions are asked, and while both sides are loaded."""

    asking: Callable[[str, Step], None]
    loading: Callable[[LoadStep], None]


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What a gate judges, and how.

    Attributes:
        candidate: What would be released.
        baseline: What it would replace.
        dataset: The items.
        metrics: The metrics, the main one first.
        requirements: What must hold.
        confidence: Confidence of each one-sided test, such as 0.95.
        load: The load for the requirements on speed.
        folder: Folder of the journal, the figures and the page.
        seed: Seed of resampling and load.
    """

    candidate: SubjectSpec
    baseline: SubjectSpec
    dataset: Dataset
    metrics: Sequence[Metric]
    requirements: Sequence[Requirement]
    confidence: float
    load: Load
    folder: Path
    seed: int

    def has(self, kinds: frozenset[Kind]) -> bool:
        """Whether a requirement is of one of these kinds."""
        return any(requirement.kind in kinds for requirement in self.requirements)


class Gated(msgspec.Struct, frozen=True):
    """What a gate found, with all figures.

    Attributes:
        record: The verdict and its reasons, as in the bundle.
        recorded: The folder of the bundle that has the record; empty if the candidate is none.
        evaluation: The answers of both, A the baseline and B the candidate.
        slices: The slices of the requirements on drops.
        load: The baseline's and the candidate's figures under load; empty if nothing needs them.
    """

    record: GateRecord
    recorded: str
    evaluation: Evaluation
    slices: Sequence[SliceDrop]
    load: Sequence[Summary]


async def gate(plan: GatePlan, on_progress: OnProgress, on_notice: OnNotice) -> Gated:
    """Runs a gate as `judged` does, and writes its verdict, the figures and the page.

    Raises:
        ConfigError: As `judged` does.
        EnvironmentFault: As `judged` does, or a file cannot be written.
    """
    gated, cases = await judged(plan, on_progress, on_notice)
    page = gate_page(gated, cases)
    write_results(plan.folder, {FIGURES: gated}, {PAGE: page})
    if gated.recorded:
        write_gate(load_bundle(Path(gated.recorded)), gated.record, page)
    return gated


async def judged(
    plan: GatePlan, on_progress: OnProgress, on_notice: OnNotice
) -> tuple[Gated, Sequence[Case]]:
    """Runs a gate and writes nothing but the journal.

    Args:
        plan: What to judge, and how.
        on_progress: Called while it runs.
        on_notice: Called with notices for the user.

    Returns:
        What it found, and the items for a report to show.

    Raises:
        ConfigError: A model is unknown or damaged, the candidate's manifest does not list all of
            its files, or the two cannot be loaded alike.
        EnvironmentFault: A server cannot be reached, or the journal cannot be written.
    """
    sides = (plan.baseline, plan.candidate)
    if plan.has(SPEED):
        check_loadable(sides)
    answering = bundle_of(plan.candidate)
    bundle = _to_record(plan.candidate, answering)
    if bundle is not None:
        check_listed(bundle, (await choose_engine(plan.candidate.settings.engine)).engine)
    plan = _disjoint(plan, answering, on_notice)
    asked = await evaluated(
        EvaluationPlan(
            (telling(plan.baseline), telling(plan.candidate)),
            plan.dataset,
            plan.metrics,
            plan.folder,
            plan.seed,
        ),
        on_progress.asking,
        on_notice,
    )
    loaded = None
    if plan.has(SPEED):
        loaded = await load_both(
            sides, plan.dataset.items, plan.load, plan.seed, on_progress.loading
        )
    findings, slices = await _judge(plan, asked, loaded)
    gated = Gated(
        record=_record(plan, findings, asked, bundle),
        recorded="" if bundle is None else str(bundle.folder),
        evaluation=asked.evaluation,
        slices=slices,
        load=[] if loaded is None else [summarise(loaded.run, side, 0.0) for side in (0, 1)],
    )
    return gated, asked.cases


async def _judge(
    plan: GatePlan, asked: Evaluated, loaded: Loaded | None
) -> tuple[list[Finding], Sequence[SliceDrop]]:
    """Judges every requirement, in the order in which they were written, and pruning."""
    baseline, candidate = asked.sides
    judge = QualityJudge(
        plan.dataset.items,
        (baseline.replies, candidate.replies),
        (baseline.scores, candidate.scores),
        plan.confidence,
    )
    findings: list[Finding] = []
    slices: list[SliceDrop] = []
    for requirement in plan.requirements:
        if requirement.kind in QUALITY:
            judged = judge.judge(requirement)
            findings += judged.findings
            slices += judged.slices
        elif requirement.kind is Kind.SIZE:
            both = [
                await size_of(spec, side.result.subject.engine)
                for spec, side in zip((plan.baseline, plan.candidate), asked.sides, strict=True)
            ]
            findings.append(judge_amount(requirement, (both[0], both[1])))
        elif loaded is not None:
            findings.append(judge_speed(requirement, loaded, plan.confidence))
    findings += judge_image_tokens(
        (bundle_of(plan.baseline), bundle_of(plan.candidate)),
        candidate.result.subject.engine,
        (baseline.replies, candidate.replies),
    )
    return findings, slices


def telling(side: SubjectSpec) -> SubjectSpec:
    """A side as a gate asks it: an engine of ours also tells the probability of its answers."""
    remote = bool(side.settings.engine.remotes)
    return replace(side, confidence=Confidence.IGNORED if remote else Confidence.IF_TOLD)


def _disjoint(plan: GatePlan, bundle: Bundle | None, on_notice: OnNotice) -> GatePlan:
    """The plan without the items whose images calibrated the candidate."""
    if bundle is None or bundle.manifest.calibration is None:
        return plan
    left = without(plan.dataset, set(bundle.manifest.calibration.images))
    if out := len(plan.dataset.items) - len(left.items):
        on_notice(f"{out} items are left out: their images calibrated the candidate")
    return replace(plan, dataset=left)


def _record(
    plan: GatePlan, findings: Sequence[Finding], asked: Evaluated, bundle: Bundle | None
) -> GateRecord:
    baseline, candidate = (side.result.subject for side in asked.sides)
    return GateRecord(
        verdict=verdict_of(findings),
        findings=tuple(findings),
        candidate=candidate.model,
        engine=candidate.engine,
        options=candidate.options,
        baseline=baseline.model,
        confidence=plan.confidence,
        dataset=plan.dataset.name,
        digest=plan.dataset.digest,
        items=len(plan.dataset.items),
        images=len({item.group for item in plan.dataset.items}),
        seed=plan.seed,
        machine=this_machine(),
        versions=candidate.versions,
        content="" if bundle is None else content_digest(bundle),
        gated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Refused if a finding is refused; else undecided if one is undecided; else passed."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.REFUSED, Verdict.UNDECIDED):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED


def _to_record(candidate: SubjectSpec, bundle: Bundle | None) -> Bundle | None:
    """The bundle whose serving the verdict is about; None if it is about none of the user's.

    The bundled model is not written to. With `max_pixels`, the answers are not those that the
    bundle gives when it is served.
    """
    is_bundled = candidate.settings.engine.model == BUNDLED_MODEL
    return None if is_bundled or candidate.max_pixels else bundle
