"""Asks the questions of a batch, and makes a result of whatever comes of each."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from silkline.batch.answer import answered, failed
from silkline.batch.inputs import Asked
from silkline.batch.item import Result
from silkline.errors import SilklineError
from silkline.service.local import create_intake
from silkline.service.pool import OnNotice
from silkline.service.subject import GatewayAsker, SubjectSpec, open_subject


class Asker(Protocol):
    """Answers questions about images.

    Attributes:
        at_once: Maximum questions at a time.
    """

    at_once: int

    async def ask(self, asked: Asked) -> Result:
        """Asks about an image. Raises nothing but cancellation: errors are results."""


class LocalAsker:
    """Asks a subject in this process."""

    def __init__(self, asker: GatewayAsker, at_once: int) -> None:
        """Takes an open subject."""
        self._asker = asker
        self.at_once = at_once

    async def ask(self, asked: Asked) -> Result:
        """Asks about an image."""
        began = time.monotonic()
        try:
            answer = await self._asker.answer(asked.source, asked.prompt)
        except SilklineError as error:
            return failed(error)
        return answered(answer, time.monotonic() - began)


def at_once_of(spec: SubjectSpec) -> int:
    """Questions that one process asks a subject at a time."""
    settings = spec.settings
    return min(settings.engine.max_batch * settings.engine.workers, settings.admission.max_queue)


@asynccontextmanager
async def open_asker(spec: SubjectSpec, on_notice: OnNotice) -> AsyncGenerator[LocalAsker, None]:
    """Loads the model, or connects to the server.

    Raises:
        SilklineError: As `open_subject`.
    """
    async with (
        create_intake(spec.settings) as intake,
        open_subject(spec, intake, on_notice) as asker,
    ):
        yield LocalAsker(asker, at_once_of(spec))
