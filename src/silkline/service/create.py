"""Assembles what answers questions with the served models."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from silkline.admission.limits import Limits
from silkline.cache.answers import AnswerCache
from silkline.config import AdmissionSettings, ModelSettings, Settings, with_models
from silkline.errors import ConfigError
from silkline.ingress.intake import Intake
from silkline.models.label import label_of
from silkline.models.resolve import locate_model
from silkline.observe.metrics import Metrics
from silkline.service.answering import Answering
from silkline.service.budget import Machine, divide
from silkline.service.lifecycle import Lifecycle
from silkline.service.metrics import (
    cache_metrics,
    intake_metrics,
    process_metrics,
)
from silkline.service.model import OnProgress
from silkline.service.model_metrics import model_metrics
from silkline.service.models import ServedModels
from silkline.service.pool import Prepared, as_typed, ignore, needs_model, prepare
from silkline.service.served_model import ServedModel


class ModelLoader:
    """Makes served models of settings, and sees that they fit on the machine together."""

    def __init__(self, admission: AdmissionSettings) -> None:
        """Measures the machine; make it before the first model is loaded."""
        self.machine = Machine.measured()
        self._admission = admission
        self._limits = Limits(time.monotonic)

    async def make(
        self,
        wanted: Mapping[str, ModelSettings],
        beside: Mapping[str, ServedModel] | None = None,
        on_progress: OnProgress = ignore,
    ) -> list[ServedModel]:
        """Prepares models; nothing is loaded yet.

        Args:
            wanted: Their settings by key.
            beside: The models that stay, by key.
            on_progress: Called with what is being done, in words, from another thread.

        Raises:
            ConfigError: As `prepare`; or the models need more than the machine has, with the sum.
            EnvironmentFault: As `prepare`.
        """
        prepared: dict[str, Prepared] = {}
        try:
            for key, settings in wanted.items():
                prepared[key] = await prepare(settings, on_progress)
            stay = {key: model.prepared.need for key, model in (beside or {}).items()}
            shares = divide(self.machine, stay | {key: each.need for key, each in prepared.items()})
            return [
                ServedModel(key, each, shares[key], self._admission, self._limits)
                for key, each in prepared.items()
            ]
        except BaseException:
            for each in prepared.values():
                each.release()
            raise


async def create_models(settings: Settings, on_progress: OnProgress = ignore) -> ServedModels:
    """Returns the models that the settings describe; nothing is loaded yet.

    Raises:
        ConfigError: As `ModelLoader.make` does.
        EnvironmentFault: As `ModelLoader.make` does.
    """
    loader = ModelLoader(settings.admission)
    return ServedModels(await loader.make(settings.served, on_progress=on_progress))


def name_of(model: str, engine: str) -> str:
    """Returns the name under which a model is served beside others, from how the user names it.

    Raises:
        ConfigError: There is no such model, or its manifest is damaged.
        EnvironmentFault: It is not in the local cache.
    """
    if not needs_model(engine):
        return PurePath(model.partition("@")[0]).name
    location = locate_model(model, os.environ)
    return location.bundle.manifest.name if location.bundle is not None else label_of(location)


def selected(settings: Settings, models: Sequence[str]) -> Settings:
    """Returns the settings that serve only these models.

    Args:
        settings: The settings.
        models: Names of tables in `[models]`, or models as the user names them; a single one that
            is not a table is the model of `[engine]`. Empty keeps all.

    Raises:
        ConfigError: Two models have the same name, or as `name_of` does.
        EnvironmentFault: As `name_of` does.
    """
    if not models:
        return settings
    engine = settings.engine
    if len(models) == 1 and models[0] not in settings.models:
        return with_models(settings, engine.model_copy(update={"model": models[0]}), {})
    tables: dict[str, ModelSettings] = {}
    for model in models:
        if model in settings.models:
            name, table = model, settings.models[model]
        else:
            name = name_of(model, engine.engine)
            typed = tuple(alias for alias in as_typed(model) if alias != name)
            table = ModelSettings(model=model, aliases=typed)
        if name in tables:
            raise ConfigError(
                f"Two of the models would have the name {name}. Give each a table of its own in "
                'silkline.toml, such as [models.first] with model = "...".'
            )
        tables[name] = table
    return with_models(settings, engine, tables)


def create_answering(
    settings: Settings,
    models: ServedModels,
    *,
    intake: Intake,
    cache: AnswerCache,
    lifecycle: Lifecycle | None = None,
    metrics: Metrics | None = None,
) -> Answering:
    """Returns what answers questions with the served models, and adds its parts to the metrics.

    Args:
        settings: The settings.
        models: The models; the caller starts and closes them.
        intake: Loads images; the caller starts and closes it.
        cache: Keeps answers; the caller closes it.
        lifecycle: Whether the process drains; by default it never does.
        metrics: The metrics; by default nobody reads them.
    """
    lifecycle, metrics = lifecycle or Lifecycle(), metrics or Metrics()
    lifecycle.at_draining(models.refuse_waiting)
    metrics.add_source(lambda: model_metrics(models))
    metrics.add_source(lambda: cache_metrics(cache.snapshot()))
    metrics.add_source(lambda: intake_metrics(intake.snapshot()))
    metrics.add_source(lambda: process_metrics(lifecycle))
    return Answering(
        settings,
        intake=intake,
        cache=cache,
        models=models,
        metrics=metrics,
        lifecycle=lifecycle,
    )
