"""Served models for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from silkline.config import AdmissionSettings, ModelSettings, Settings
from silkline.engines.registry import Choice
from silkline.routing.pool import EnginePool
from silkline.service.budget import Need, Share
from silkline.service.loader import ModelLoader
from silkline.service.manager import ModelManager
from silkline.service.model import ModelFiles
from silkline.service.model_changes import ModelChanges
from silkline.service.models import ServedModels
from silkline.service.pool import Prepared
from silkline.service.served_model import ServedModel

NOTHING = Need(0, 0, 0, workers=1, cores=1.0, memory=1.0)


class _Scripted(Prepared):
    """A model whose engines a test makes."""

    make: Callable[[], EnginePool]

    def pool(self, share: Share = Share()) -> EnginePool:  # noqa: B008
        return self.make()


def served_by(
    make: Callable[[], EnginePool], files: ModelFiles | None = None, **wanted: Any
) -> ServedModel:
    """A model with these settings, whose engines `make` makes, for each start anew."""
    settings = ModelSettings(**({"engine": "fake"} | wanted))
    prepared = _Scripted(settings, Choice("fake"), files, NOTHING)
    prepared.make = make
    return ServedModel(settings.served_name, prepared, Share(), AdmissionSettings())


def managed(make: Callable[[], EnginePool]) -> ModelManager:
    """A manager of one model, whose engines `make` makes."""
    settings = Settings()
    models = ServedModels([served_by(make)])
    return ModelManager(settings, models, ModelLoader(settings.admission), ModelChanges(""))
