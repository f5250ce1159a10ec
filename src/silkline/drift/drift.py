"""What a server does about drift: compares its traffic, and asks the canary set."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from silkline.aio.background import in_background
from silkline.config import Settings
from silkline.drift.baseline import read_baselines
from silkline.drift.canary import CanarySet
from silkline.drift.journal import Journal
from silkline.drift.windows import Windows
from silkline.errors import Overloaded
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import load_dataset
from silkline.observe.declared import Reading
from silkline.service.answering import Answering
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.drift")

_STEP_SECONDS = 1.0
"""Time between two looks at what is to be written, and whether the canary set is due."""


class Drift:
    """Drift and the canary set of a server; without settings it does nothing."""

    def __init__(self, settings: Settings, answering: Answering) -> None:
        """Reads the baseline and the canary set; `running` starts the work.

        Raises:
            ConfigError: One of them cannot be read.
        """
        drift, canary = settings.drift, settings.canary_set
        self._journal = Journal(drift.drift_journal)
        baselines = read_baselines(Path(drift.drift_baseline)) if drift.drift_baseline else {}
        self._windows = Windows(drift, baselines, processes=settings.server.processes)
        self._canary: CanarySet | None = None
        if canary.canary_data:
            location = find_set(canary.canary_data, os.environ)
            self._canary = CanarySet(
                canary,
                load_dataset(location, maximum=canary.canary_items),
                answering,
                self._journal,
                max_image_bytes=settings.limits.max_image_bytes,
            )

    def ended(self, record: RequestRecord) -> None:
        """Takes a request that has ended; returns at once."""
        self._windows.take(record)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Writes windows and asks the canary set while the block runs."""
        try:
            async with (
                in_background(self._write_repeatedly(), "drift"),
                in_background(self._ask_repeatedly(), "canary set"),
            ):
                yield
        finally:
            with suppress(Overloaded):
                await self._write()
            await self._journal.aclose()

    def readings(self) -> Iterator[Reading]:
        """Metrics of the last windows and the last runs."""
        yield from self._windows.readings()
        if self._canary is not None:
            yield from self._canary.readings()

    def shown(self) -> dict[str, Any]:
        """The state of both for the admin API."""
        canary = self._canary
        return {
            "drift": self._windows.shown(),
            "canary_set": None
            if canary is None
            else {
                "items": len(canary.items),
                "every_seconds": canary.settings.canary_every,
                "models": canary.models,
                "runs": msgspec.to_builtins(list(canary.last.values())),
            },
        }

    async def _write_repeatedly(self) -> None:
        while self._windows.baselines:
            await asyncio.sleep(_STEP_SECONDS)
            with suppress(Overloaded):  # logged by the store; the next round tries again
                await self._write()

    async def _write(self) -> None:
        while self._windows.ended:
            await self._journal.add_window(self._windows.ended[0])
            self._windows.ended.pop(0)

    async def _ask_repeatedly(self) -> None:
        while self._canary is not None:
            await asyncio.sleep(_STEP_SECONDS)
            with suppress(Overloaded):
                await self._canary.run()
