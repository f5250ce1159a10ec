"""Checks that an engine processes images and prompts as transformers does.

The engine runs in this process, without a server. Its images take the same path as a client's: as
data URLs, through the intake and its decoding processes.
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
from silkline.service.pool import OnNotice, choose_engine, needs_model, prepared_model, why_chosen
from silkline.service.subject import SubjectSpec

if TYPE_CHECKING:
    from silkline.evaluate.contract.reference import Reference

_TRANSFORMERS = "transformers"
"""The engine name under which a bundle's manifest lists the original model."""


class ClientPath:
    """Loads the images of a case as a client's: as data URLs, through the intake."""

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
class ContractPlan:
    """What a contract check compares.

    Attributes:
        subject: The model or the server.
        reference: The original model; empty means the one that the subject includes.
        maximum: Maximum number of cases; None compares all.
    """

    subject: SubjectSpec
    reference: str
    maximum: int | None = None


async def check_contract(
    plan: ContractPlan, on_progress: Callable[[int, int], None], on_notice: OnNotice
) -> Contract:
    """Compares an engine with transformers.

    Args:
        plan: The subject and the reference.
        on_progress: Called with the number of compared cases and of all cases.
        on_notice: Called with the reason why `auto` passed over an engine.

    Raises:
        ConfigError: The model is unknown or does not include its original, or its engine cannot be
            probed.
        EnvironmentFault: The engine is not installed, or the server cannot be reached.
        ModuleNotFoundError: transformers is not installed.
    """
    settings = plan.subject.settings
    folder = _original(plan)
    engine, probed = await _created(settings.engine, on_notice)
    reference, cases = await asyncio.gather(
        asyncio.to_thread(_reference, folder), asyncio.to_thread(golden_pack, plan.maximum)
    )
    async with create_intake(settings) as intake, _started(engine, probed) as prober:
        info = engine.info
        tolerance = tolerance_of(info.precision)
        sides = Sides(ClientPath(intake), prober, info.pixel_budget, reference, tolerance)
        rows = await check_cases(cases, sides, lambda done: on_progress(done, len(cases)))
    if not any(row.stages for row in rows):
        raise ConfigError(
            f"No case could be compared. The reason for the first one: {rows[0].refused}."
        )
    return Contract(
        model=plan.subject.name,
        engine=info.engine,
        precision=info.precision,
        revision=info.revision,
        reference=f"transformers {reference.version}, float32",
        tolerance=tolerance,
        rows=rows,
        hidden=_hidden(rows),
    )


async def _created(settings: EngineSettings, on_notice: OnNotice) -> tuple[Engine, Probed]:
    """Creates the engine as a worker would; returns it as an `Engine` and as a `Probed`."""
    choice = await choose_engine(settings)
    if why := why_chosen(choice):
        on_notice(why)
    name = choice.engine
    engine = create_engine(name, await _options(settings, name))
    if not isinstance(engine, Probed):
        raise ConfigError(
            f"The engine {name} does not support --contract. Use openvino, torch or remote."
        )
    return engine, engine


def _reference(folder: Path) -> Reference:
    from silkline.evaluate.contract.reference import Reference  # noqa: PLC0415 - takes seconds

    return Reference(folder)


@asynccontextmanager
async def _started(engine: Engine, probed: Probed) -> AsyncGenerator[Prober, None]:
    """Starts an engine in this process, and its prober."""
    try:
        try:
            await engine.start()
        except WorkerLost as error:
            raise EnvironmentFault(
                f"The server does not respond: {error.message} Start it, or check its URL and key."
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


def _original(plan: ContractPlan) -> Path:
    """Returns the folder with the original model, which transformers can load.

    Raises:
        ConfigError: There is none, or the user must name it.
        EnvironmentFault: It is a hub model that is not on this machine.
    """
    engine = plan.subject.settings.engine
    if not plan.reference and engine.remotes:
        raise ConfigError(
            "The model files of a server are not available. Name the model that it serves with "
            "--reference MODEL."
        )
    location = locate_model(plan.reference or engine.model, os.environ)
    folder = _original_folder(location)
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"{location.model} has no model that transformers can load. Name the original model "
            "with --reference MODEL."
        )
    return folder


def _original_folder(location: ModelLocation) -> Path:
    if location.bundle is not None and _TRANSFORMERS in location.bundle.manifest.engines:
        return location.bundle.weights(_TRANSFORMERS)
    return location.folder


async def _options(settings: EngineSettings, name: str) -> EngineOptions:
    """Returns the options that a worker of this engine would get."""
    if name == REMOTE:
        if not settings.remotes:
            raise ConfigError("The engine remote needs a server: give its URL as the SUBJECT.")
        return EngineOptions(extra=settings.remotes[0].as_texts())
    if not needs_model(name):
        return EngineOptions(extra=settings.engine_options)
    files = await prepared_model(settings, name)  # its hold goes with the process, which ends soon
    return EngineOptions(
        model=files.folder,
        max_batch=1,
        kv_cache_bytes=settings.kv_cache_bytes,
        threads=files.threads(settings.threads),
        extra=files.options(settings),
        name=files.name,
        revision=files.revision,
    )


def _hidden(rows: list[Row]) -> dict[Stage, str]:
    """Returns the reason for each stage that is hidden in all compared rows."""
    compared = [row for row in rows if row.stages]
    return {
        stage: compared[0].stages[stage].told
        for stage in Stage
        if all(row.stages[stage].verdict is Verdict.HIDDEN for row in compared)
    }
