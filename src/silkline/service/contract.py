"""Checks that an engine reads images and prompts as transformers does.

The engine runs in this process, without a server. Its questions come as a client's would: images as
data URLs, through the intake and its decoding children.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from silkline.config import EngineSettings
from silkline.core import ImagePart, Message, PixelBudget, Role, TextPart
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.probe import Probed, Prober
from silkline.engines.registry import create_engine
from silkline.engines.remote.listing import ENGINE as REMOTE
from silkline.errors import ConfigError, EnvironmentFault, WorkerLost
from silkline.evaluate.contract.case import Case
from silkline.evaluate.contract.check import Brought, Sides, check_cases
from silkline.evaluate.contract.pack import golden_pack
from silkline.evaluate.contract.results import Contract, Row, Stage, Verdict
from silkline.evaluate.contract.tolerances import tolerance_of
from silkline.ingress.intake import Intake
from silkline.ingress.source import parse_url
from silkline.models.documents import CONFIG
from silkline.models.resolve import ModelLocation, locate_model
from silkline.service.local import create_intake
from silkline.service.pool import WITHOUT_MODEL, OnNotice, choose_engine, prepared_model, why_chosen
from silkline.service.subject import Spelled

if TYPE_CHECKING:
    from silkline.evaluate.contract.reference import Reference

_TRANSFORMERS = "transformers"
"""The engine under whose name a bundle's manifest says where the original model lies."""


class ClientPath:
    """Sends a case the way of a client's question: images as data URLs, through the intake."""

    def __init__(self, intake: Intake) -> None:
        """Takes a started intake."""
        self._intake = intake

    async def bring(self, case: Case, budget: PixelBudget) -> Brought:
        """See `silkline.evaluate.contract.check.Path`."""
        images = [part for part in case.parts if not isinstance(part, str)]
        index = itertools.count()
        parts = tuple(
            TextPart(part) if isinstance(part, str) else ImagePart(next(index))
            for part in case.parts
        )
        sources = tuple(parse_url(_data_url(image), param="image") for image in images)
        taken = await self._intake.take(sources, budget, b"")
        return Brought((Message(Role.USER, parts),), taken.images)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared with what.

    Attributes:
        subject: The model or the server.
        reference: Where the original model lies; empty for where the subject itself has it.
        most: Cases to compare; None compares all.
    """

    subject: Spelled
    reference: str
    maximum: int | None = None


async def check_contract(
    wanted: Wanted, on_progress: Callable[[int, int], None], on_notice: OnNotice
) -> Contract:
    """Compares, and says what was found.

    Args:
        wanted: Both sides.
        on_progress: Called with the number of cases compared, and of all cases.
        on_notice: Called with why `auto` passed over an engine.

    Raises:
        ConfigError: The model is unknown, has no original beside it, or its engine cannot be
            probed.
        EnvironmentFault: The engine or a server is not there.
        ModuleNotFoundError: transformers is not installed.
    """
    settings = wanted.subject.settings
    place = _original(wanted)
    engine, probed = await _created(settings.engine, on_notice)
    reference, cases = await asyncio.gather(
        asyncio.to_thread(_reference, place), asyncio.to_thread(golden_pack, wanted.maximum)
    )
    async with create_intake(settings) as intake, _started(engine, probed) as prober:
        info = engine.info
        tolerance = tolerance_of(info.precision)
        sides = Sides(ClientPath(intake), prober, info.pixel_budget, reference, tolerance)
        rows = await check_cases(cases, sides, lambda done: on_progress(done, len(cases)))
    if not any(row.stages for row in rows):
        raise ConfigError(
            "Not one case could be compared. Look at what both say of a single picture: "
            f"{rows[0].refused}."
        )
    return Contract(
        model=wanted.subject.name,
        engine=info.engine,
        precision=info.precision,
        revision=info.revision,
        reference=f"transformers {reference.version}, float32",
        tolerance=tolerance,
        rows=rows,
        hidden=_hidden(rows),
    )


async def _created(wanted: EngineSettings, on_notice: OnNotice) -> tuple[Engine, Probed]:
    """The engine as a worker would have it, in both its roles."""
    choice = await choose_engine(wanted)
    if why := why_chosen(choice):
        on_notice(why)
    name = choice.engine
    engine = create_engine(name, await _options(wanted, name))
    if not isinstance(engine, Probed):
        raise ConfigError(
            f"The engine {name} cannot tell how it reads a request; openvino, torch and remote can."
        )
    return engine, engine


def _reference(folder: Path) -> Reference:
    from silkline.evaluate.contract.reference import Reference  # noqa: PLC0415 - takes seconds

    return Reference(folder)


@asynccontextmanager
async def _started(engine: Engine, probed: Probed) -> AsyncGenerator[Prober, None]:
    """Starts an engine in this process, and what looks into it."""
    try:
        try:
            await engine.start()
        except WorkerLost as error:
            raise EnvironmentFault(
                f"The server cannot be asked: {error.message} Start it, or check its URL and key."
            ) from error
        prober = await probed.prober()
        try:
            yield prober
        finally:
            await prober.aclose()
    finally:
        await engine.aclose()


def _data_url(data: bytes) -> str:
    return "data:;base64," + base64.b64encode(data).decode("ascii")


def _original(wanted: Wanted) -> Path:
    """The folder with the model as transformers reads it.

    Raises:
        ConfigError: There is none, or the user has to say which.
        EnvironmentFault: It is a model of the hub that is not on this machine.
    """
    engine = wanted.subject.settings.engine
    if not wanted.reference and engine.remotes:
        raise ConfigError(
            "A server does not tell its model's files. Name the model that it serves, to compare "
            "with: --reference MODEL."
        )
    place = locate_model(wanted.reference or engine.model, os.environ)
    folder = _home(place)
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"{place.model} holds no model that transformers reads. Name the original one: "
            "--reference MODEL."
        )
    return folder


def _home(place: ModelLocation) -> Path:
    if place.bundle is not None and _TRANSFORMERS in place.bundle.manifest.engines:
        return place.bundle.weights(_TRANSFORMERS)
    return place.folder


async def _options(wanted: EngineSettings, name: str) -> EngineOptions:
    """What a worker of this engine would get."""
    if name == REMOTE:
        if not wanted.remotes:
            raise ConfigError("The engine remote needs a server: give its URL as the SUBJECT.")
        told = wanted.remotes[0].model_dump(exclude_defaults=True)
        return EngineOptions(extra={key: str(value) for key, value in told.items()})
    if name in WITHOUT_MODEL:
        return EngineOptions(extra=wanted.engine_options)
    files = await prepared_model(wanted, name)  # its hold goes with the process, which ends soon
    return EngineOptions(
        model=files.folder,
        max_batch=1,
        kv_cache_bytes=wanted.kv_cache_bytes,
        threads=wanted.threads,
        extra=wanted.engine_options,
        name=files.name,
        revision=files.revision,
    )


def _hidden(rows: list[Row]) -> dict[Stage, str]:
    """Why stages are hidden, where they are hidden in all rows alike."""
    compared = [row for row in rows if row.stages]
    return {
        stage: compared[0].stages[stage].told
        for stage in Stage
        if all(row.stages[stage].verdict is Verdict.HIDDEN for row in compared)
    }
