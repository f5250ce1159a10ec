"""What `up` and `describe` share: from settings to a pool of engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

from silkline.config import EngineSettings, Settings
from silkline.engines.base import EngineOptions
from silkline.engines.registry import pick_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.models.resolve import resolve_model
from silkline.routing.pool import EnginePool

WITHOUT_MODEL = frozenset({"fake"})
"""The engines that compute nothing, and so need no model."""


async def create_pool(settings: Settings) -> EnginePool:
    """The pool that the settings describe; nothing has started yet.

    The model's files are read to their end to see that they are whole, which takes a while where
    they are large.

    Raises:
        ConfigError: The model is unknown, or its files are damaged.
        EnvironmentFault: No engine is installed.
    """
    wanted = settings.engine
    name = pick_engine() if wanted.engine == "auto" else wanted.engine
    options = EngineOptions(
        model=None if name in WITHOUT_MODEL else await _model_folder(wanted),
        max_batch=wanted.max_batch,
        kv_cache_bytes=wanted.kv_cache_bytes,
        threads=wanted.threads,
        extra=wanted.engine_options,
    )
    worker = WorkerSupervisor(name, options, hang_timeout=wanted.hang_timeout)
    return EnginePool([worker], max_queue=wanted.max_queue)


async def _model_folder(wanted: EngineSettings) -> Path:
    bundle = await asyncio.to_thread(resolve_model, wanted.model)
    return bundle.folder
