"""A subject of an evaluation: a model in this process, or a server behind a URL.

Both are asked through the service's one path, so an evaluation sees what clients see.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silkline.cache.policy import CacheUse
from silkline.config import EngineSettings, Settings, settings_from
from silkline.core import ImagePart, Message, PixelBudget, Role, Sampling, TextPart
from silkline.engines.registry import library_versions
from silkline.engines.remote.listing import ENGINE as REMOTE
from silkline.engines.remote.png import encode_png
from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate.item import Item, ItemImage, ImageKind
from silkline.evaluate.run import Asked
from silkline.evaluate.subject import Subject
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, parse_base64, parse_url, uploaded
from silkline.service.answering import Answering
from silkline.service.local import open_answering, read_image
from silkline.service.pool import OnNotice
from silkline.service.question import Question
from silkline.service.record import RequestRecord

_PARAM = "picture"
_SERVER_SECONDS = 10.0
"""How long a server may take to tell which models it has."""

_FROM_ELSEWHERE = frozenset({"model", "remotes"})
"""What the subject's first word says."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A subject as the user spelled it.

    Attributes:
        name: The text.
        settings: What serves it.
        max_tokens: Most tokens of an answer.
        max_pixels: Pixels to reduce its pictures to; 0 leaves them.
    """

    name: str
    settings: Settings
    max_tokens: int
    max_pixels: int


def parse_subject(
    text: str, config: Path | None, flags: Mapping[str, Any], max_tokens: int
) -> Spelled:
    """Reads `MODEL name=value ...` or `URL name=value ...`.

    Names are max_tokens, max_pixels and, for a model, the settings of its engine; for a URL those
    of an entry of `remotes`.

    Raises:
        ConfigError: A name is unknown, or a value is wrong.
    """
    first, *rest = text.split() or [""]
    given: dict[str, str] = {}
    for part in rest:
        name, separator, value = part.partition("=")
        if not name or not separator:
            raise ConfigError(
                f"The subject {text} has {part} where name=value was expected, such as "
                "max_tokens=64. Put the whole subject in quotes."
            )
        given[name] = value
    tokens = _count(given, "max_tokens", max_tokens)
    pixels = _count(given, "max_pixels", 0)
    settings: dict[str, Any]
    if "://" in first:
        entry = " ".join([first, *(f"{name}={value}" for name, value in given.items())])
        settings = {"engine": REMOTE, "remotes": (entry,)}
    else:
        known = EngineSettings.model_fields.keys() - _FROM_ELSEWHERE
        if unknown := given.keys() - known:
            raise ConfigError(
                f"The subject {text} has the unknown name {min(unknown)}. Known are max_tokens, "
                f"max_pixels, {', '.join(sorted(known))}."
            )
        settings = {**given, "model": first, "remotes": ()}
    return Spelled(text, _quiet(settings_from(config, {**flags, **settings})), tokens, pixels)


def _quiet(settings: Settings) -> Settings:
    """Without what a server does under load: an evaluation waits, and sees whole pictures."""
    patient = settings.admission.model_copy(update={"slo": 0.0, "resolution_curve": {}})
    return settings.model_copy(update={"admission": patient})


def _count(given: dict[str, str], name: str, default: int) -> int:
    text = given.pop(name, None)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{name} is {text[:40]}; expected a whole number, at least 1.")
    return int(text)


class GatewayAsker:
    """Puts questions to one subject; see `evaluate.run.Asker`."""

    def __init__(self, spelled: Spelled, answering: Answering, intake: Intake) -> None:
        """Takes what is open."""
        self._spelled = spelled
        self._answering = answering
        self._intake = intake
        self._max_bytes = spelled.settings.limits.max_image_bytes
        self._sampling = Sampling(max_tokens=spelled.max_tokens)

    def subject(self, take: int) -> Subject:
        """Who this is; `take` counts how often the same one is asked in this run, from 0."""
        info, engine = self._answering.models.default.info, self._spelled.settings.engine
        urls = [remote.url for remote in engine.remotes]
        return Subject(
            name=self._spelled.name,
            model=self._answering.models.default.label,
            engine=info.engine,
            precision=info.precision,
            max_tokens=self._spelled.max_tokens,
            max_pixels=self._spelled.max_pixels,
            options=dict(engine.engine_options, **({"url": urls[0]} if urls else {})),
            versions=library_versions(info.engine),
            take=take,
        )

    async def ask(self, item: Item) -> Asked:
        """Asks about an item, past the cache. Raises `SilklineError` where it gets no answer."""
        record = RequestRecord(id=uuid.uuid4().hex)
        source = await asyncio.to_thread(source_of, item.image, self._max_bytes)
        scope, pixels = record.tenant.salt, 0
        if self._spelled.max_pixels:
            budget = PixelBudget(max_pixels=self._spelled.max_pixels)
            reduced = await self._intake.take((source,), budget, scope)
            pixels = reduced.identities[0].original_pixels
            source = uploaded(encode_png(reduced.images[0]), param=_PARAM)
        question = Question(
            model=None,
            messages=(Message(Role.USER, (ImagePart(0), TextPart(item.prompt))),),
            sources=(source,),
            sampling=self._sampling,
            stream=False,
            cache_use=CacheUse.NONE,
        )
        answer = await self._answering.answer(question, record)
        if not pixels:
            budget = self._answering.models.default.info.pixel_budget
            known = self._intake.recognise((source,), budget, scope)
            pixels = known[0].original_pixels if known else 0
        return Asked(answer, pixels)


@asynccontextmanager
async def open_subject(
    spelled: Spelled, intake: Intake, on_notice: OnNotice
) -> AsyncGenerator[GatewayAsker, None]:
    """Loads the model, or finds the server.

    Raises:
        ConfigError: As `open_answering` does.
        EnvironmentFault: As `open_answering` does; or the server is not there.
    """
    remote = bool(spelled.settings.engine.remotes)
    async with AsyncExitStack() as stack:
        try:
            # A gateway waits for its servers to come; who runs a command wants to be told.
            async with asyncio.timeout(_SERVER_SECONDS if remote else None):
                opening = open_answering(spelled.settings, intake, on_notice)
                answering = await stack.enter_async_context(opening)
        except TimeoutError as error:
            raise EnvironmentFault(
                f"{spelled.name.split()[0]} did not tell its models within {_SERVER_SECONDS:g} s. "
                "Start the server, or check its URL, its model's name and its key."
            ) from error
        yield GatewayAsker(spelled, answering, intake)


def source_of(image: ItemImage, max_bytes: int) -> Source:
    """An item's picture as the intake takes it. Raises as `read_picture` and `parse_url` do."""
    if image.kind is ImageKind.URL:
        return parse_url(image.text, param=_PARAM)
    if image.kind is ImageKind.BASE64:
        return parse_base64(image.text, param=_PARAM)
    return read_image(image.text, max_bytes, param=_PARAM)
