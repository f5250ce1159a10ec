"""Assembles what answers questions over a pool of engines."""

from __future__ import annotations

from silkline.admission.admission import Admission
from silkline.cache.answers import AnswerCache
from silkline.config import Settings
from silkline.ingress.intake import Intake
from silkline.observe.metrics import Metrics
from silkline.routing.pool import EnginePool
from silkline.service.answering import Answering
from silkline.service.lifecycle import Lifecycle
from silkline.service.metrics import (
    admission_metrics,
    cache_metrics,
    intake_metrics,
    process_metrics,
    replica_metrics,
)
from silkline.service.models import ServedModel, ServedModels
from silkline.service.pool import aliases, wanted_images


def create_answering(
    settings: Settings,
    pool: EnginePool,
    *,
    intake: Intake,
    cache: AnswerCache,
    lifecycle: Lifecycle | None = None,
    metrics: Metrics | None = None,
) -> Answering:
    """Returns what answers questions with one model, and adds its parts to the metrics.

    Args:
        settings: The settings.
        pool: The engines; the caller starts and closes them.
        intake: Loads images; the caller starts and closes it.
        cache: Keeps answers; the caller closes it.
        lifecycle: Whether the process drains; by default it never does.
        metrics: The metrics; by default nobody reads them.
    """
    lifecycle, metrics = lifecycle or Lifecycle(), metrics or Metrics()
    admission = Admission(settings.admission, pool.capacity)
    lifecycle.at_draining(admission.close)
    metrics.add_source(lambda: replica_metrics(pool.health()))
    metrics.add_source(lambda: cache_metrics(cache.snapshot()))
    metrics.add_source(lambda: admission_metrics(admission.snapshot()))
    metrics.add_source(lambda: intake_metrics(intake.snapshot()))
    metrics.add_source(lambda: process_metrics(lifecycle))
    engine = settings.engine
    model = ServedModel(pool, admission, aliases(engine), engine.remotes, wanted_images(engine))
    return Answering(
        settings,
        intake=intake,
        cache=cache,
        models=ServedModels([model]),
        metrics=metrics,
        lifecycle=lifecycle,
    )
