"""What one of several gateway processes gets of the server's limits."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from silkline.admission.admission import Admission
from silkline.aio.background import in_background
from silkline.config import AdminSettings, ModelSettings, Settings
from silkline.config.observing import MIN_QUEUE_BYTES
from silkline.config.sections import MIB
from silkline.engines.worker.folder import SHARED
from silkline.errors import ConfigError
from silkline.stores.memory import Memory

DEMAND = 0
"""The counter of the requests that a process has sent to the engines or keeps waiting."""

LOOK_SECONDS = 0.02
"""Time between two looks at the demand of the other processes."""

TURN_SECONDS = 0.1
"""How long a process has what is left when the slots are divided."""

RGB_BYTES = 3
"""Bytes of a decoded pixel."""


class CapacityShare:
    """This process's share of the engines' slots.

    The slots are divided by demand: a process that needs fewer than its equal share leaves the rest
    to the others (max-min fairness). Each process computes the division from the demands that all
    publish every `LOOK_SECONDS`. It is a division of turns, not the limit itself: no replica gets
    more than its limit, because requests in flight are counted over all processes (see
    `routing/members`).
    """

    def __init__(self, memory: Memory) -> None:
        """Takes the memory that the processes share."""
        self._demand = memory.counter(DEMAND)

    def of(self, slots: int) -> int:
        """Maximum requests of this process in flight on engines with so many slots."""
        demands = self._demand.each()
        if len(demands) == 1:
            return slots
        return divided(slots, demands, self._demand.process, int(time.monotonic() / TURN_SECONDS))

    @asynccontextmanager
    async def published(
        self, serve: Callable[[], None], admission: Admission
    ) -> AsyncIterator[None]:
        """Publishes this process's demand, and looks at that of the others, during the block.

        Args:
            serve: Gives the engines' free slots to requests that wait for one.
            admission: Admits the requests of this process.
        """
        if len(self._demand.each()) == 1:
            yield
            return
        async with in_background(self._publish(serve, admission), "capacity share"):
            yield

    async def _publish(self, serve: Callable[[], None], admission: Admission) -> None:
        while True:
            self._demand.add(admission.demand - self._demand.own)
            serve()
            admission.serve()
            await asyncio.sleep(LOOK_SECONDS)


def divided(slots: int, demands: Sequence[int], process: int, turn: int) -> int:
    """The slots of a process by max-min fairness, if it could use all of them.

    Args:
        slots: All slots.
        demands: The slots that each process needs; its own is not read.
        process: The index of the process.
        turn: Rotates who gets the slots that are left when the rest are divided equally.
    """
    others = [demand for index, demand in enumerate(demands) if index != process]
    level = slots + 1
    left = len(demands)
    for demand in sorted(others):
        if demand * left >= slots:
            level = demand
            break
        slots -= demand
        left -= 1
    sharing = [index for index, demand in enumerate(demands) if index == process or demand >= level]
    rank = (sharing.index(process) + turn) % left
    return slots // left + (rank < slots % left)


def only_model(settings: Settings) -> ModelSettings:
    """Returns the model of a server with several gateway processes: one, which never changes.

    Raises:
        ConfigError: The settings want several models, or changes of them.
    """
    models = tuple(settings.served.values())
    wants = {
        f"{len(models)} models": len(models) > 1,
        "a model that is unloaded when idle (idle_s)": any(model.idle_s for model in models),
        "changes by the admin API": settings.admin != AdminSettings(),
    }
    for what, wanted in wants.items():
        if wanted:
            raise ConfigError(
                f"The settings want {what} and {settings.server.processes} gateway processes, "
                "which can serve only one model that never changes. Use processes = 1, or a server "
                "for each model."
            )
    return models[0]


def settings_of_process(settings: Settings, folder: Path) -> Settings:
    """The settings of one of `processes` gateway processes.

    Memory, decoding processes, connections and the queue are divided, and rounded up. Of the memory
    for requests, each process has enough for the largest one, and its share of the rest. Keys,
    stored responses and the request history, where they would be kept in memory, are in files that
    the processes share.

    Args:
        settings: The server's settings.
        folder: A folder for these files, removed when the server ends.
    """
    server, limits, cache = settings.server, settings.limits, settings.cache

    def share(value: int, reserved: int = 0) -> int:
        reserved = min(value, reserved)
        return reserved + math.ceil((value - reserved) / server.processes)

    stores = settings.idempotency.idempotency_store or str(folder / f"{SHARED}keys.db")
    history = settings.history.history_file or str(folder / f"{SHARED}history.db")
    responses = settings.responses.response_file or str(folder / f"{SHARED}responses.db")
    drift = settings.drift.drift_journal or str(folder / f"{SHARED}drift.db")
    updates: Mapping[str, Mapping[str, object]] = {
        "server": {"max_connections": share(server.max_connections)},
        "limits": {
            "max_held_body_bytes": share(limits.max_held_body_bytes, limits.max_body_bytes),
            "max_inflight_bytes": share(
                limits.max_inflight_bytes,
                RGB_BYTES * limits.max_request_pixels + limits.max_body_bytes,
            ),
        },
        "decode": {
            "decode_processes": share(settings.decode.decode_processes),
            "identity_memory_bytes": share(settings.decode.identity_memory_bytes),
        },
        "cache": {"cache_memory_bytes": share(cache.cache_memory_bytes)},
        "idempotency": {"idempotency_store": stores},
        "responses": {"response_file": responses},
        "history": {"history_file": history},
        "drift": {"drift_journal": drift},
        "admission": {"max_queue": share(settings.admission.max_queue)},
        "log": {
            "log_spool_bytes": max(share(settings.log.log_spool_bytes), MIB),
            "log_queue_bytes": max(share(settings.log.log_queue_bytes), MIN_QUEUE_BYTES),
        },
    }
    return settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(update=dict(update))
            for name, update in updates.items()
        }
    )
