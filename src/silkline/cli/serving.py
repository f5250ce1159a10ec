"""What `up` and `describe` share: from settings to a pool of engines."""

from __future__ import annotations

from silkline.config import Settings
from silkline.engines.base import EngineOptions
from silkline.engines.registry import pick_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.models.resolve import resolve_model
from silkline.routing.pool import EnginePool


def create_pool(settings: Settings) -> EnginePool:
    """The pool that the settings describe; nothing has started yet.

    Raises:
        ConfigError: The model or the engine is unknown, or the model's files are damaged.
        EnvironmentFault: No engine is installed.
    """
    wanted = settings.engine
    name = pick_engine() if wanted.engine == "auto" else wanted.engine
    options = EngineOptions(
        model=resolve_model(wanted.model).folder,
        max_batch=wanted.max_batch,
        kv_cache_bytes=wanted.kv_cache_bytes,
        threads=wanted.threads,
        extra=wanted.engine_options,
    )
    worker = WorkerSupervisor(name, options, hang_timeout=wanted.hang_timeout)
    return EnginePool([worker], max_queue=wanted.max_queue)
