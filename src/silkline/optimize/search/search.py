"""Runs a search: screens, halves, confirms, and writes the bundle that won.

Each optimisation is tried alone on a small sample, then combinations of those that are not slower.
The slower half is dropped and the sample doubled until few are left (successive halving). What
clearly violates a requirement is dropped at once. The finalists are judged by the gate on items
that were not used for picking (docs/decisions/0032).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from silkline.engines.machine import this_machine
from silkline.engines.registry import library_versions
from silkline.errors import EnvironmentFault, SilklineError
from silkline.evaluate.journal import Journal
from silkline.evaluate.run import Step
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.gate import content_digest
from silkline.optimize.build import build, check_target
from silkline.optimize.calibration import joined
from silkline.optimize.exact import exact_bundle
from silkline.optimize.optimisation import Sample, optimisations
from silkline.optimize.optimize import load_samples
from silkline.optimize.record import write_gate
from silkline.optimize.report.search_page import search_page
from silkline.optimize.search.candidates import Candidates, candidates
from silkline.optimize.search.confirm import Confirmation, confirm
from silkline.optimize.search.effects import effects
from silkline.optimize.search.meter import Asked, Meter
from silkline.optimize.search.plan import (
    ANSWERS,
    FIGURES,
    JOURNAL,
    PAGE,
    OnProgress,
    Searched,
    SearchPlan,
)
from silkline.optimize.search.split import Split, split
from silkline.optimize.search.study import Study
from silkline.optimize.search.trial import BASELINE, Names, Trial, fastest, frontier, label_of
from silkline.service.local import create_intake
from silkline.service.pool import OnNotice, choose_engine
from silkline.service.results import write_results
from silkline.service.subject import SubjectSpec, bundle_of, of_model

_FIRST_ITEMS = 24
"""Items of the first sample."""

_FINALISTS = 3

_ALONE, _COMBINED, _HALVED = 0.4, 0.5, 0.6
"""Shares of the budget after which each phase of the screening stops; the rest confirms."""

_MAX_COMBINATIONS = 12


async def search(plan: SearchPlan, on_progress: OnProgress, on_notice: OnNotice) -> Searched:
    """Searches, and writes the bundle, the figures and the page.

    Args:
        plan: What to search for, and how long.
        on_progress: Called while it runs.
        on_notice: Called with notices for the user.

    Raises:
        ConfigError: The model or the data set cannot be used, the target exists, or the folder has
            the journal of another search.
        EnvironmentFault: A library is missing, the model does not start, or a file cannot be
            written.
    """
    check_target(plan.target)
    engine = (await choose_engine(plan.subject.settings.engine)).engine
    async with AsyncExitStack() as stack:
        on_progress("preparing the exact weights", 0, 1, "")
        wanted = plan.subject.settings.engine
        base = await exact_bundle(
            wanted, engine, plan.folder / "source", stack, on_notice,
            lambda stage: on_progress("preparing the exact weights", 0, 1, stage),
        )  # fmt: skip
        baseline = plan.subject
        if bundle_of(baseline) is None:
            baseline = of_model(baseline, base.folder, baseline.name)
        known = candidates(base, engine, optimisations())
        images = plan.images if any(each.calibrated for each in known.known.values()) else 0
        parts = split(plan.dataset, images, plan.seed)
        study = stack.enter_context(Study(plan.folder / JOURNAL, _identity(plan, base, engine)))
        journal = stack.enter_context(Journal(plan.folder / ANSWERS))
        intake = await stack.enter_async_context(create_intake(plan.subject.settings))
        meter = Meter(
            selection=parts.selection,
            metrics=plan.metrics,
            requirements=plan.requirements,
            confidence=plan.confidence,
            at_once=plan.load.clients or plan.subject.settings.engine.max_batch,
            journal=journal,
            intake=intake,
            on_notice=on_notice,
        )
        running = _Search(plan, parts, base, baseline, known, study, meter, on_progress)
        await running.screen()
        confirmation = await running.confirm(on_notice)
        return running.finish(confirmation, engine)


def _identity(plan: SearchPlan, base: Bundle, engine: str) -> dict[str, object]:
    """What decides about the trials; a journal of another one is not continued."""
    answering = bundle_of(plan.subject)
    return {
        "baseline": plan.subject.name if answering is None else content_digest(answering),
        "base": content_digest(base),
        "engine": engine,
        "dataset": plan.dataset.digest,
        "requirements": [each.text for each in plan.requirements],
        "confidence": plan.confidence,
        "clients": plan.load.clients,
        "max_tokens": plan.subject.max_tokens,
        "images": plan.images,
        "seed": plan.seed,
        "machine": this_machine().kind,
        "versions": library_versions(engine),
    }


@dataclass(slots=True)
class _Search:
    """The state of a search."""

    plan: SearchPlan
    parts: Split
    base: Bundle
    baseline: SubjectSpec
    known: Candidates
    study: Study
    meter: Meter
    on_progress: OnProgress
    began: float = field(default_factory=time.monotonic)
    before: float = field(init=False)
    samples: Sequence[Sample] = ()
    asked: dict[int, Asked] = field(default_factory=dict)
    whole: set[Names] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before = self.study.seconds

    @property
    def seconds(self) -> float:
        """Seconds that the search took so far, over all its runs."""
        return self.before + time.monotonic() - self.began

    def show(self, detail: str) -> None:
        """Shows how much of the budget is used, and what is being done."""
        self.on_progress("searching", min(self.seconds, self.plan.budget), self.plan.budget, detail)

    def over(self, share: float) -> bool:
        """Whether this share of the budget is used."""
        return self.seconds >= share * self.plan.budget

    async def screen(self) -> None:
        """Tries each optimisation alone, then combinations, then halves and doubles."""
        available = len(self.parts.selection.items)
        items = min(_FIRST_ITEMS, available)
        await self.baseline_on(items)
        answering = bundle_of(self.baseline)
        is_exact = answering is not None and answering.folder == self.base.folder
        exact: list[Names] = [] if is_exact else [()]
        alone = await self.try_all([*exact, *self.known.alone], items, _ALONE)
        combined = self.known.combined(alone)[:_MAX_COMBINATIONS]
        pool = fastest([*alone, *await self.try_all(combined, items, _COMBINED)])
        while pool and not self.over(_HALVED) and (items < available or len(pool) > _FINALISTS):
            kept = pool[: max(_FINALISTS, len(pool) // 2)]
            for trial in pool[len(kept) :]:
                self.remove(trial.names)
            items = min(available, 2 * items)
            again = await self.try_all([trial.names for trial in kept], items, _HALVED)
            if len(again) < len(kept):  # the time is over
                break
            pool = fastest(again)

    async def try_all(self, names: Sequence[Names], items: int, share: float) -> list[Trial]:
        """Tries candidates until a share of the budget is used; always one at least."""
        found: list[Trial] = []
        for each in names:
            if found and self.over(share):
                break
            found.append(await self.trial(each, items))
        return found

    async def trial(self, names: Names, items: int) -> Trial:
        """The trial of a candidate, made now unless the journal has it."""
        if (known := self.study.find(names, items)) is not None:
            return known
        baseline = await self.baseline_on(items)
        try:
            began = time.monotonic()
            folder = await self.built(names)
            building = time.monotonic() - began
            label = label_of(names)
            spec = of_model(self.baseline, folder, label)
            found = await self.meter.ask(spec, items, self.asking(label))
            trial = self.meter.compare(names, baseline, found, building)
        except SilklineError as error:
            trial = Trial(names=names, problem=error.message)
        if trial.problem:
            self.remove(names)
        self.study.add(trial, items, self.seconds)
        return trial

    async def baseline_on(self, items: int) -> Asked:
        """The baseline's answers to so many items; asked once for all candidates."""
        if items not in self.asked:
            found = await self.meter.ask(self.baseline, items, self.asking("the baseline"))
            self.asked[items] = found
            if self.study.find(BASELINE, items) is None:
                trial = self.meter.compare(BASELINE, found, found, 0.0)
                self.study.add(msgspec.structs.replace(trial, problem=""), items, self.seconds)
        return self.asked[items]

    def asking(self, label: str) -> Callable[[Step], None]:
        """A callback for the progress of asking."""
        return lambda step: self.show(f"{label}: asked {step.done} of {step.total}")

    async def built(self, names: Names) -> Path:
        """The folder of a candidate, built now unless it is there."""
        if not names:
            return self.base.folder
        folder = self.folder(names)
        if names in self.whole:
            return folder
        if (folder / MANIFEST).is_file() and not load_bundle(folder).damaged_files():
            self.whole.add(names)
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        chosen = self.known.of(names)
        calibration = self.base.manifest.calibration
        samples: Sequence[Sample] = ()
        if any(each.calibrated for each in chosen):
            samples = await self.loaded()
            calibration = joined(calibration, self.parts.calibration)
        images = [sample.image for sample in samples]
        self.show(f"{label_of(names)}: building")
        folder.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(
            build, self.base, chosen, folder, images, calibration, _nothing, samples
        )
        self.whole.add(names)
        return folder

    async def loaded(self) -> Sequence[Sample]:
        """The calibration's images and questions, loaded once."""
        if not self.samples:
            self.show("loading the calibration images")
            settings = self.plan.subject.settings
            self.samples = await load_samples(settings, self.base, self.parts.calibrating)
        return self.samples

    def folder(self, names: Names) -> Path:
        """Where a candidate is built."""
        return self.plan.folder / "candidates" / "+".join(names)

    def remove(self, names: Names) -> None:
        """Removes a candidate's files; they can be built again."""
        if names:
            self.whole.discard(names)
            shutil.rmtree(self.folder(names), ignore_errors=True)

    async def confirm(self, on_notice: OnNotice) -> Confirmation:
        """Judges the finalists on items that were not used for picking."""
        trials = self.study.trials()
        baseline = next(trial for trial in trials if trial.names == BASELINE)
        maximum = max((each.items for each in trials if each.names != BASELINE), default=0)
        finalists = [
            each for each in fastest(trials)
            if each.names not in {BASELINE, ()} and each.items == maximum and each.speed > 1
        ][:_FINALISTS]  # fmt: skip
        subjects = [
            (of_model(self.baseline, await self.built(each.names), each.label), each)
            for each in finalists
        ]
        return await confirm(
            self.plan,
            self.parts.confirmation,
            (self.baseline, baseline),
            subjects,
            lambda: self.plan.budget - self.seconds,
            self.on_progress,
            on_notice,
        )

    def finish(self, confirmation: Confirmation, engine: str) -> Searched:
        """Writes the bundle that won, the figures and the page."""
        plan, trials = self.plan, self.study.trials()
        trials.sort(key=lambda each: (each.names != BASELINE, bool(each.problem), -each.speed))
        picked, gated = confirmation.picked, confirmation.gated
        if gated is not None:
            gated = msgspec.structs.replace(
                gated, recorded="" if picked is None else str(plan.target)
            )
        found = Searched(
            baseline=gated.record.baseline if gated else plan.subject.name,
            engine=engine,
            dataset=plan.dataset.name,
            digest=plan.dataset.digest,
            seed=plan.seed,
            calibrating=len(self.parts.calibrating),
            selecting=len(self.parts.selection.items),
            confirming=confirmation.items,
            requirements=[each.text for each in plan.requirements],
            seconds=self.seconds,
            budget=plan.budget,
            trials=trials,
            frontier=[each.names for each in frontier(trials)],
            effects=effects(self.known, trials),
            confirmed=confirmation.confirmed,
            picked=picked,
            bundle="" if picked is None else str(plan.target),
            findings={} if picked is None else _findings(self.folder(picked)),
            gated=gated,
            command=plan.command,
        )
        page = search_page(found, confirmation.cases)
        write_results(plan.folder, {FIGURES: found}, {PAGE: page})
        if picked is not None and gated is not None:
            bundle = load_bundle(self.folder(picked))
            write_gate(bundle, gated.record, page)
            try:
                plan.target.parent.mkdir(parents=True, exist_ok=True)
                bundle.folder.rename(plan.target)
            except OSError as error:
                raise EnvironmentFault(
                    f"{plan.target} cannot be written: {error.strerror}. Choose another --out."
                ) from error
        shutil.rmtree(plan.folder / "candidates", ignore_errors=True)
        return found


def _nothing(_: str) -> None:
    """Does nothing with a stage."""


def _findings(folder: Path) -> dict[str, dict[str, Any]]:
    manifest: dict[str, Any] = msgspec.json.decode((folder / MANIFEST).read_bytes())
    found: dict[str, dict[str, Any]] = manifest.get("findings", {})
    return found
