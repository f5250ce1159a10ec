"""Assembles the served models, and what answers questions with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from silkline.cache.answers import AnswerCache
from silkline.config import Settings
from silkline.ingress.intake import Intake
from silkline.observe.catalogue import MACHINE_PRICE
from silkline.observe.declared import Reading, families
from silkline.observe.logs import shipping_snapshot
from silkline.observe.metrics import Metrics
from silkline.observe.shipping.readings import log_readings
from silkline.service.answering import Answering, Choose
from silkline.service.deployment import Deployment
from silkline.service.lifecycle import Lifecycle
from silkline.service.loader import ModelLoader
from silkline.service.machine_metrics import machine_readings
from silkline.service.metrics import cache_readings, intake_readings, process_readings
from silkline.service.model import OnProgress
from silkline.service.model_changes import ModelChanges
from silkline.service.model_metrics import model_readings
from silkline.service.models import ServedModels
from silkline.service.pool import ignore


async def create_models(
    settings: Settings,
    reread: Callable[[], Settings] | None = None,
    on_progress: OnProgress = ignore,
) -> Deployment:
    """Returns the models that the settings describe, and what changes them; nothing is loaded yet.

    Args:
        settings: The settings.
        reread: Reads the settings again; None if they come from no file.
        on_progress: Called with what is being done, in words, from another thread.

    Raises:
        ConfigError: As `ModelLoader.models` does; or the file of `admin_state` is damaged.
        EnvironmentFault: As `ModelLoader.models` does; or that file cannot be read.
    """
    loader = ModelLoader(settings.admission)
    changes = ModelChanges(settings.admin.admin_state)
    wanted = changes.applied(settings)
    changed = {key for key in wanted if changes.changed(key)}
    models = await loader.models(wanted, on_progress, may_fail=changed)
    return Deployment(settings, models, loader, changes, reread)


def create_answering(
    settings: Settings,
    models: ServedModels,
    *,
    intake: Intake,
    cache: AnswerCache,
    lifecycle: Lifecycle | None = None,
    metrics: Metrics | None = None,
    choose: Choose | None = None,
) -> Answering:
    """Returns what answers questions with the served models, and adds its parts to the metrics.

    Args:
        settings: The settings.
        models: The models; the caller starts and closes them.
        intake: Loads images; the caller starts and closes it.
        cache: Keeps answers; the caller closes it.
        lifecycle: Whether the process drains; by default it never does.
        metrics: The metrics; by default nobody reads them.
        choose: Chooses the model of a question; by default the one that it names.
    """
    lifecycle, metrics = lifecycle or Lifecycle(), metrics or Metrics()
    lifecycle.at_draining(models.refuse_waiting)

    def readings() -> Iterator[Reading]:
        yield from _readings(settings, models, metrics)
        yield from cache_readings(cache.snapshot())
        yield from intake_readings(intake.snapshot())
        yield from process_readings(lifecycle)
        yield from machine_readings()
        yield from log_readings(shipping_snapshot())

    metrics.add_source(lambda: families(readings()))
    return Answering(
        settings,
        intake=intake,
        cache=cache,
        models=models,
        metrics=metrics,
        lifecycle=lifecycle,
        choose=choose,
    )


def _readings(settings: Settings, models: ServedModels, metrics: Metrics) -> Iterator[Reading]:
    """Metrics of the models, of their objectives, and of what answers cost."""
    yield from model_readings(models)
    yield from metrics.objectives.readings(model.name for model in models if model.name)
    yield MACHINE_PRICE, (), settings.monitoring.machine_price
