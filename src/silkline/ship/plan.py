"""What is shipped, where to, and what has to hold on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from silkline.config import ExperimentSettings, Settings
from silkline.engines.machine import this_machine
from silkline.evaluate.dataset_location import DatasetLocation
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.metrics.catalogue import Metric
from silkline.models.gate import content_digest
from silkline.optimize.load import Load
from silkline.optimize.requirements import Requirement
from silkline.service.subject import SubjectSpec, bundle_of

_ID_LENGTH = 12

JOURNAL, LOCK, BUNDLES, WORK, SERVER = "ship.sqlite", "lock", "bundles", "work", "server"
"""Files and folders of a store."""

RENDERED = "rendered"
"""Folder of rendered files in a ship's work."""


class To(StrEnum):
    """Where a bundle is shipped to."""

    LOCAL = "local"
    """A server that runs on this machine, or that is started here."""

    COMPOSE = "compose"
    KUBERNETES = "kubernetes"


class How(StrEnum):
    """How the candidate comes to be."""

    SEARCH = "search"
    """The fastest bundle that keeps the quality is searched for."""

    APPLY = "apply"
    """Named optimisations are applied."""

    BUNDLE = "bundle"
    """It was built elsewhere."""


@dataclass(frozen=True, slots=True)
class Source:
    """How the candidate comes to be.

    Attributes:
        how: The way.
        names: The optimisations to apply.
        bundle: The folder of a bundle that was built elsewhere.
        budget: Seconds that a search may take.
        images: Number of calibration images.
    """

    how: How
    names: tuple[str, ...]
    bundle: Path | None
    budget: float
    images: int


@dataclass(frozen=True, slots=True)
class Judging:
    """What has to hold, and on what it is judged.

    Attributes:
        dataset: The items.
        location: Where they are.
        metrics: The metrics, the main one first.
        requirements: What must hold of the bundle.
        confidence: Confidence of each one-sided test.
        load: The load for the requirements on speed.
        seed: Seed of draws, resampling and load.
    """

    dataset: Dataset
    location: DatasetLocation
    metrics: Sequence[Metric]
    requirements: Sequence[Requirement]
    confidence: float
    load: Load
    seed: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the bundle goes.

    Attributes:
        to: The kind of target.
        url: Address of the server.
        key_env: The environment variable with its admin's key.
        name: The name of the model that is replaced; empty if the server tells.
        canary: The experiment, but for its models.
        requests: Maximum requests of the canary.
        bundles_at: The folder at which the server sees the bundles of the store.
    """

    to: To
    url: str
    key_env: str
    name: str
    canary: Mapping[str, Any]
    requests: int
    bundles_at: Path


@dataclass(frozen=True, slots=True)
class ShipPlan:
    """What is shipped.

    Attributes:
        model: The model as the user named it: the baseline.
        subject: The same as it is asked and loaded.
        settings: The settings of a server that serves it.
        source: How the candidate comes to be.
        judging: What has to hold.
        destination: Where it goes.
        traffic: The traffic to plan for, as written; empty if none is named.
        store: The folder of the journal, the work and the bundles.
        command: The command that ships it.
        arguments: Its arguments, to run it again.
        again: How often the same was shipped before.
    """

    model: str
    subject: SubjectSpec
    settings: Settings
    source: Source
    judging: Judging
    destination: Destination
    traffic: str
    store: Path
    command: str
    arguments: Mapping[str, Any]
    again: int

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the result, as JSON has it."""
        baseline = bundle_of(self.subject)
        identity = {
            "model": self.model,
            "content": "" if baseline is None else content_digest(baseline),
            "engine": self.subject.settings.engine.engine,
            "max_tokens": self.subject.max_tokens,
            "how": self.source.how,
            "apply": self.source.names,
            "bundle": "" if self.source.bundle is None else str(self.source.bundle),
            "budget": self.source.budget,
            "images": self.source.images,
            "dataset": self.judging.dataset.digest,
            "metrics": [each.name for each in self.judging.metrics],
            "requirements": [each.text for each in self.judging.requirements],
            "confidence": self.judging.confidence,
            "load": self.judging.load,
            "seed": self.judging.seed,
            "to": self.destination.to,
            "url": self.destination.url,
            "name": self.destination.name,
            "canary": dict(self.destination.canary),
            "requests": self.destination.requests,
            "bundles_at": str(self.destination.bundles_at),
            "traffic": self.traffic,
            "machine": this_machine().kind,
            "again": self.again,
        }
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(identity))
        return found

    @property
    def id(self) -> str:
        """The ship's id: the same plan has the same one."""
        encoded = msgspec.json.encode(self.identity, order="sorted")
        return hashlib.sha256(encoded).hexdigest()[:_ID_LENGTH]

    @property
    def work(self) -> Path:
        """Folder of what the stages make on the way."""
        return self.store / WORK / self.id

    def experiment(self, model: str, candidate: str) -> ExperimentSettings:
        """The canary's experiment between two served models."""
        values = {**self.destination.canary, "model": model, "candidate": candidate}
        return ExperimentSettings.model_validate(values)
