"""What `up` and `describe` share: from settings to a pool of engines."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from silkline.config import EngineSettings, Settings
from silkline.engines.base import EngineOptions
from silkline.engines.registry import pick_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.models.resolve import resolve_model
from silkline.routing.local import LocalReplica
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
        threads=threads_of_worker(wanted),
        extra=wanted.engine_options,
    )
    replicas = [
        LocalReplica(
            str(place),
            WorkerSupervisor(name, options, hang_timeout=wanted.hang_timeout),
            limit=limit_of_worker(wanted.max_batch),
        )
        for place in range(wanted.workers)
    ]
    return EnginePool(replicas, max_queue=settings.admission.max_queue)


def threads_of_worker(wanted: EngineSettings) -> int:
    """Threads that each worker computes with; 0 lets its engine take all the cores.

    Several workers that each took all of them would wait for each other in every step.
    """
    if wanted.threads or wanted.workers == 1:
        return wanted.threads
    return max(1, len(os.sched_getaffinity(0)) // wanted.workers)


def limit_of_worker(max_batch: int) -> int:
    """Requests at a worker at a time: a batch, and a few so that it is full again at once.

    All others wait in the gateway: there they may still go elsewhere, and are not lost with it.
    """
    return max_batch + max(2, max_batch // 4)


async def _model_folder(wanted: EngineSettings) -> Path:
    bundle = await asyncio.to_thread(resolve_model, wanted.model)
    return bundle.folder
