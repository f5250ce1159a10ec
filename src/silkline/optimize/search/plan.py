"""What a search is about, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from silkline.evaluate.datasets import Dataset
from silkline.evaluate.metrics.catalogue import Metric
from silkline.models.gate import Verdict
from silkline.optimize.gate import Gated
from silkline.optimize.load import Load
from silkline.optimize.requirements import Requirement
from silkline.optimize.search.trial import Names, Trial
from silkline.service.subject import SubjectSpec

JOURNAL, ANSWERS, FIGURES, PAGE = "search.sqlite", "answers.jsonl", "search.json", "report.html"


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search for, and how long.

    Attributes:
        subject: The model as it is: the baseline.
        dataset: The items: some calibrate, some pick, and half of them confirm.
        metrics: The metrics, the main one first.
        requirements: What must hold of the bundle.
        confidence: Confidence of each one-sided test.
        load: The load of the confirmation.
        budget: Seconds that the search may take.
        images: Number of calibration images.
        seed: Seed of the draws, the resampling and the load.
        target: Folder of the new bundle, which must not exist.
        folder: Folder of the journal, the answers, the figures and the page.
        command: The command that runs the search, for the report.
    """

    subject: SubjectSpec
    dataset: Dataset
    metrics: Sequence[Metric]
    requirements: Sequence[Requirement]
    confidence: float
    load: Load
    budget: float
    images: int
    seed: int
    target: Path
    folder: Path
    command: str


OnProgress = Callable[[str, float, float, str], None]
"""Called with the activity, how much is done, how much there is to do, and a detail."""


class Effect(msgspec.Struct, frozen=True):
    """What one optimisation does here, alone.

    Attributes:
        name: Its name.
        helps: Whether it is clearly faster and loses nothing clearly.
        about: What was found, in a sentence.
    """

    name: str
    helps: bool
    about: str


class Confirmed(msgspec.Struct, frozen=True):
    """A finalist's verdict.

    Attributes:
        names: Its optimisations.
        verdict: The gate's verdict on the confirmation set.
        speed: Its throughput under load in times of the baseline's; None if it was not loaded.
        about: Why, in a sentence for each requirement.
    """

    names: Names
    verdict: Verdict
    speed: float | None
    about: str


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    Attributes:
        baseline: The model that it started from, as name@revision.
        engine: The engine that serves all candidates.
        dataset: Name of the data set.
        digest: Digest of the data set.
        seed: Seed of the search.
        calibrating: Number of calibration images.
        selecting: Number of items on which candidates were compared.
        confirming: Number of items on which finalists were judged.
        requirements: What had to hold.
        seconds: Time that the search took, over all its runs.
        budget: Time that it was given.
        trials: The last trial of each candidate, the baseline first.
        frontier: The candidates that no other one beats in everything.
        effects: What each optimisation does here, alone.
        confirmed: The finalists, in the order in which they were judged.
        picked: The optimisations of the bundle; None if no candidate passed.
        bundle: The bundle's folder; empty if no candidate passed.
        findings: What the picked optimisations measured, by optimisation.
        gated: The gate of the picked bundle, else that of the last finalist; None if there was
            none.
        command: The command that runs the search.
    """

    baseline: str
    engine: str
    dataset: str
    digest: str
    seed: int
    calibrating: int
    selecting: int
    confirming: int
    requirements: Sequence[str]
    seconds: float
    budget: float
    trials: Sequence[Trial]
    frontier: Sequence[Names]
    effects: Sequence[Effect]
    confirmed: Sequence[Confirmed]
    picked: Names | None
    bundle: str
    findings: Mapping[str, Mapping[str, Any]]
    gated: Gated | None
    command: str

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        if self.picked is not None:
            speed = next(each.speed for each in self.confirmed if each.names == self.picked)
            faster = "" if speed is None else f", {speed:.2f} times the baseline's throughput"
            return f"Picked {' + '.join(self.picked) or 'no optimisation'}{faster}"
        if self.confirmed:
            return "No candidate passed on items that were not used for picking"
        return "Nothing that was tried is faster here and keeps the quality"
