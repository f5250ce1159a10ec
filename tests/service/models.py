"""Served models for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from silkline.config import AdmissionSettings, ModelSettings, Settings
from silkline.engines.registry import Choice
from silkline.errors import EnvironmentFault
from silkline.routing.pool import EnginePool
from silkline.service.budget import NO_NEED
from silkline.service.deployment import Deployment
from silkline.service.loader import ModelLoader
from silkline.service.model import ModelFiles
from silkline.service.model_changes import ModelChanges
from silkline.service.models import ServedModels
from silkline.service.pool import Pool, Prepared
from silkline.service.served_model import ServedModel
from tests.routing.scripted import ScriptedReplica


def served_by(
    make: Callable[[], Pool], files: ModelFiles | None = None, **wanted: Any
) -> ServedModel:
    """A model with these settings, whose engines `make` makes, for each start anew."""
    settings = ModelSettings(**({"engine": "fake"} | wanted))
    prepared = Prepared(settings, Choice("fake"), files, NO_NEED)
    return ServedModel(settings.served_name, prepared, make, AdmissionSettings())


def deployed(make: Callable[[], EnginePool]) -> Deployment:
    """A deployment of one model, whose engines `make` makes."""
    settings = Settings()
    models = ServedModels([served_by(make)])
    return Deployment(settings, models, ModelLoader(settings.admission), ModelChanges(""))


class Replicas:
    """Makes the engines of a model, each start with a new one, and counts them."""

    def __init__(self) -> None:
        self.made: list[SlowReplica] = []
        self.seconds = 0.0
        self.fault = ""

    def __call__(self) -> EnginePool:
        self.made.append(SlowReplica(self))
        return EnginePool([self.made[-1]])


class SlowReplica(ScriptedReplica):
    def __init__(self, of: Replicas) -> None:
        super().__init__("slow")
        self.of = of
        self.up = False

    async def start(self) -> None:
        await asyncio.sleep(self.of.seconds)
        if self.of.fault:
            raise EnvironmentFault(self.of.fault)
        self.turn(up=True)
