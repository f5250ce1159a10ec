"""The stages that make a bundle and judge it: optimise, evaluate, gate, bundle."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from silkline.bench.session import Step as LoadStep
from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.results import Evaluation
from silkline.evaluate.run import Step
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.gate import GateRecord, Verdict, content_digest, read_gate
from silkline.models.resolve import resolve_model
from silkline.optimize.calibration import without
from silkline.optimize.gate import FIGURES as GATE_FIGURES
from silkline.optimize.gate import PAGE as GATE_PAGE
from silkline.optimize.gate import GatePlan, OnProgress, gate, telling
from silkline.optimize.optimize import OptimizePlan, optimize
from silkline.optimize.search.plan import FIGURES as SEARCH_FIGURES
from silkline.optimize.search.plan import PAGE as SEARCH_PAGE
from silkline.optimize.search.plan import Searched, SearchPlan
from silkline.optimize.search.search import search
from silkline.service.evaluation import FIGURES, PAGE, EvaluationPlan, evaluate
from silkline.service.pool import OnNotice
from silkline.service.subject import SubjectSpec, bundle_of, of_model
from silkline.ship.bundles import GATE, PROVENANCE, SBOM, Bundles, copy_ungated, sha256
from silkline.ship.journal import Kind
from silkline.ship.machine import Known, Outcome, Show
from silkline.ship.plan import BUNDLES, How, ShipPlan
from silkline.ship.sbom import sbom
from silkline.ship.statements import Made, judgement, provenance

OPTIMISE, EVALUATE, GATE_STAGE, BUNDLE = "optimise", "evaluate", "gate", "bundle"

_CANDIDATE, _SEARCH, _JUDGED = "candidate", "search", "gate"
"""Folders of a ship's work."""


class Optimise:
    """Makes the candidate: by a search, by named optimisations, or from a bundle."""

    name = OPTIMISE

    def __init__(self, plan: ShipPlan, on_notice: OnNotice) -> None:
        self._plan = plan
        self._on_notice = on_notice

    async def run(self, known: Known, show: Show) -> Outcome:
        """Makes the candidate, or finds the one that was made before."""
        del known
        source, target = self._plan.source, self._plan.work / _CANDIDATE
        about = "It was built before."
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.how is How.SEARCH:
                found = await self._search(target, show)
                if found.picked is None:
                    return Outcome(Kind.REFUSED, f"{found.headline}.")
                about = f"{found.headline}."
            elif source.how is How.APPLY:
                await self._apply(target, show)
                about = f"Applied {', '.join(source.names)}."
            else:
                folder = str(source.bundle)
                copy_ungated(resolve_model(folder), target)
                about = f"Took {folder}."
        bundle = load_bundle(target)
        facts = {"digest": content_digest(bundle), "label": bundle.label}
        return Outcome(Kind.DONE, about, facts)

    async def _search(self, target: Path, show: Show) -> Searched:
        plan, judging = self._plan, self._plan.judging
        searching = SearchPlan(
            subject=plan.subject,
            dataset=judging.dataset,
            metrics=judging.metrics,
            requirements=judging.requirements,
            confidence=judging.confidence,
            load=judging.load,
            budget=plan.source.budget,
            images=plan.source.images,
            seed=judging.seed,
            target=target,
            folder=plan.work / _SEARCH,
            command=plan.command,
        )
        return await search(searching, show, self._on_notice)

    async def _apply(self, target: Path, show: Show) -> None:
        plan, source = self._plan, self._plan.source
        applying = OptimizePlan(
            plan.subject.settings, source.names, target,
            plan.judging.dataset, source.images, plan.judging.seed,
        )  # fmt: skip
        await optimize(applying, lambda stage: show(stage, 0, 1, ""))


class Evaluate:
    """Asks the model and the candidate about the data set."""

    name = EVALUATE

    def __init__(self, plan: ShipPlan, on_notice: OnNotice) -> None:
        self._plan = plan
        self._on_notice = on_notice

    async def run(self, known: Known, show: Show) -> Outcome:
        """Asks both; a search did so before, on items that it did not pick by."""
        del known
        plan = self._plan
        if plan.source.how is How.SEARCH:
            found = _searched(plan).gated
            if found is None:
                raise ConfigError(f"The results in {plan.work} are damaged. Ship it with --again.")
            return Outcome(Kind.DONE, "In the search: " + _scores(found.evaluation))
        candidate = load_bundle(plan.work / _CANDIDATE)
        evaluating = EvaluationPlan(
            tuple(telling(side) for side in sides_of(plan)),
            _judged_on(plan.judging.dataset, candidate),
            plan.judging.metrics,
            plan.work / _JUDGED,
            plan.judging.seed,
        )
        evaluation = await evaluate(evaluating, _asking(show), self._on_notice)
        return Outcome(Kind.DONE, _scores(evaluation))


class Gate:
    """Judges whether the candidate may replace the model."""

    name = GATE_STAGE

    def __init__(self, plan: ShipPlan, on_notice: OnNotice) -> None:
        self._plan = plan
        self._on_notice = on_notice

    async def run(self, known: Known, show: Show) -> Outcome:
        """Judges it; the verdict is in the candidate, where a search has written it before."""
        del known
        plan, judging = self._plan, self._plan.judging
        record = read_gate(load_bundle(plan.work / _CANDIDATE))
        if record is None:
            baseline, candidate = sides_of(plan)
            gating = GatePlan(
                candidate=candidate,
                baseline=baseline,
                dataset=judging.dataset,
                metrics=judging.metrics,
                requirements=judging.requirements,
                confidence=judging.confidence,
                load=judging.load,
                folder=plan.work / _JUDGED,
                seed=judging.seed,
            )
            progress = OnProgress(_asking(show), _loading(show))
            record = (await gate(gating, progress, self._on_notice)).record
        about = " ".join(f"{each.requirement}: {each.reason}" for each in record.findings)
        facts = {"verdict": record.verdict, "items": record.items}
        if record.verdict is not Verdict.PASSED:
            return Outcome(Kind.REFUSED, f"{record.verdict.capitalize()}. {about}", facts)
        return Outcome(Kind.DONE, f"Passed. {about}", facts)


class Pack:
    """Keeps the bundle by its digest, with what made and judged it."""

    name = BUNDLE

    def __init__(self, plan: ShipPlan, began: float) -> None:
        self._plan = plan
        self._began = began

    async def run(self, known: Known, show: Show) -> Outcome:
        """Keeps it and writes its statements."""
        show("checksums", 0, 1, "")
        plan, digest = self._plan, known[OPTIMISE]["digest"]
        candidate = load_bundle(plan.work / _CANDIDATE)
        record = read_gate(candidate)
        if record is None or content_digest(candidate) != digest:
            raise ConfigError(
                f"The candidate in {plan.work} was changed. Ship it again with --again."
            )
        bundles = Bundles(plan.store / BUNDLES)
        bundle = bundles.put(candidate)
        verdicts = {each.requirement: each.verdict for each in record.findings}
        bundles.write(
            digest,
            plan.id,
            {
                PROVENANCE: self._provenance(bundle, digest, record),
                GATE: judgement(bundle, digest, verdicts, list(_reports(plan))),
                SBOM: sbom(bundle.label, digest, bundle.manifest.license),
            },
        )
        facts = {"digest": digest, "label": bundle.label, "engine": record.engine}
        return Outcome(Kind.DONE, f"{bundle.label} is {digest}.", facts)

    def _provenance(self, bundle: Bundle, digest: str, record: GateRecord) -> dict[str, Any]:
        plan = self._plan
        baseline = bundle_of(plan.subject)
        model: dict[str, Any] = {"name": record.baseline, "uri": f"model:{plan.model}"}
        if baseline is not None:
            model["digest"] = {"sha256": content_digest(baseline)}
        made = Made(
            ship=plan.id,
            external={"command": plan.command},
            internal=plan.identity,
            dependencies=[model, *_data(plan)],
            byproducts=list(_reports(plan)),
            versions=record.versions,
            began=self._began,
            ended=time.time(),
        )
        return provenance(bundle, digest, made)


def sides_of(plan: ShipPlan) -> tuple[SubjectSpec, SubjectSpec]:
    """The model and the candidate, as they are asked."""
    candidate = of_model(plan.subject, plan.work / _CANDIDATE, "the candidate")
    return plan.subject, candidate


def _judged_on(dataset: Dataset, candidate: Bundle) -> Dataset:
    """The data set without what calibrated the candidate."""
    calibration = candidate.manifest.calibration
    return dataset if calibration is None else without(dataset, set(calibration.images))


def _searched(plan: ShipPlan) -> Searched:
    path = plan.work / _SEARCH / SEARCH_FIGURES
    try:
        return msgspec.json.decode(path.read_bytes(), type=Searched)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} cannot be read. Ship it again with --again.") from error


def _scores(evaluation: Evaluation) -> str:
    """How both answered, in a sentence."""
    compared = evaluation.comparison
    if compared is None:
        return f"{evaluation.items} items."
    scores = "".join(
        f"{each.metric} {each.first:.1%} before and {each.second:.1%} after, "
        for each in compared.differences[:1]
    )
    return f"{scores}{compared.agreement:.1%} identical answers, on {evaluation.items} items."


def _data(plan: ShipPlan) -> Iterable[dict[str, Any]]:
    """The data set, and its files by their checksums."""
    dataset = plan.judging.dataset
    about = {"items": len(dataset.items), "digest": dataset.digest}
    for path in plan.judging.location.sources:
        entry: dict[str, Any] = {"name": dataset.name, "uri": path.resolve().as_uri()}
        if path.is_file():
            entry["digest"] = {"sha256": sha256(path)}
        yield entry | {"annotations": about}


def _reports(plan: ShipPlan) -> Iterable[dict[str, Any]]:
    """The figures and pages that the stages wrote."""
    for folder, names in (
        (_SEARCH, (SEARCH_FIGURES, SEARCH_PAGE)),
        (_JUDGED, (FIGURES, PAGE, GATE_FIGURES, GATE_PAGE)),
    ):
        for name in names:
            path = plan.work / folder / name
            if path.is_file():
                yield {"name": f"{folder}/{name}", "digest": {"sha256": sha256(path)}}


def _asking(show: Show) -> Any:
    def on_progress(activity: str, step: Step) -> None:
        show(activity, step.done, step.total, f"{step.failed} failed")

    return on_progress


def _loading(show: Show) -> Any:
    def on_progress(step: LoadStep) -> None:
        show(f"loading {step.target}", step.done, step.total, "")

    return on_progress
