"""Assembles the batch API from the settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from silkline.batch.batches import Batches
from silkline.batch.store import BatchStore
from silkline.config import Settings
from silkline.gateway.batches.in_process import InProcess
from silkline.models.home import expanded
from silkline.observe.declared import Reading
from silkline.service.idle import Idle
from silkline.service.lifecycle import Lifecycle
from silkline.service.models import ServedModels


@dataclass(frozen=True, slots=True)
class BatchApi:
    """The files and batches of a server.

    Attributes:
        store: Their records; None if the API is off.
        batches: Runs them; None if the API is off.
    """

    store: BatchStore | None = None
    batches: Batches | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Runs the batches during the block."""
        if self.store is None or self.batches is None:
            yield
            return
        async with aclosing(self.store), self.batches.running():
            yield

    def readings(self) -> Iterator[Reading]:
        """Their metrics."""
        if self.batches is not None:
            yield from self.batches.readings()


def create_batch_api(
    settings: Settings, answering: ASGIApp, models: ServedModels, lifecycle: Lifecycle
) -> BatchApi:
    """Returns the API that the settings describe; nothing is opened yet.

    Args:
        settings: The settings.
        answering: The application that answers the requests of batches.
        models: The models whose idle capacity is used.
        lifecycle: Whether the server leaves, so that no request of a batch starts.

    Raises:
        ConfigError: The home in `batch_folder` is not known.
    """
    if not settings.batch.batch_folder:
        return BatchApi()
    store = BatchStore(expanded(settings.batch.batch_folder), settings.batch)
    idle = Idle(models, settings.batch.batch_share, lambda: lifecycle.leaving)
    line_bytes = settings.limits.max_body_bytes
    return BatchApi(store, Batches(store, idle, InProcess(answering), line_bytes))
