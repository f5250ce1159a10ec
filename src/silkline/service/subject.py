"""A subject of an evaluation: a model in this process, or a server behind a URL.

Both are asked through the same path as clients' requests, so an evaluation sees what clients see.
"""

from __future__ import annotations

import asyncio
import json
import os
import string
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

from silkline.cache.policy import CacheUse
from silkline.config import EngineSettings, Settings, settings_from, with_models
from silkline.core import (
    Constraint,
    ConstraintKind,
    Feature,
    ImagePart,
    Message,
    Role,
    Sampling,
    TextPart,
)
from silkline.engines.registry import library_versions
from silkline.engines.remote.listing import ENGINE as REMOTE
from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate.item import ImageKind, Item, ItemImage
from silkline.evaluate.run import Asked
from silkline.evaluate.subject import Subject
from silkline.ingress.intake import Intake
from silkline.ingress.pixels import PixelRange
from silkline.ingress.source import Source, parse_base64, parse_url
from silkline.models.bundle import Bundle
from silkline.models.gate import content_digest
from silkline.models.resolve import locate_model
from silkline.service.answering import Answering
from silkline.service.local import open_answering, read_image
from silkline.service.model import answer_options
from silkline.service.pool import OnNotice, needs_model
from silkline.service.question import Question
from silkline.service.record import RequestRecord

_PARAM = "picture"
_SERVER_SECONDS = 10.0
"""Timeout for a server to list its models."""

_FROM_FIRST_WORD = frozenset({"model", "remotes"})
"""Settings that the subject's first word sets."""

_OF_SERVING = frozenset({"ungated", "gated_elsewhere"})
"""Settings without effect on what is only measured."""


class Choices(StrEnum):
    """How a subject answers a multiple choice.

    `LIKELY` takes the most likely letter: decoding is greedy and constrained to the letters.
    """

    WRITTEN = "written"
    LIKELY = "likely"


class Confidence(Enum):
    """Whether a subject's replies tell how sure the model is, which may take the engine longer.

    `IF_TOLD` asks engines that can tell; `NEEDED` refuses the others.
    """

    IGNORED = "ignored"
    IF_TOLD = "if told"
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class SubjectSpec:
    """A subject, parsed from the command line.

    Attributes:
        name: The text on the command line.
        settings: The settings that serve it.
        max_tokens: Maximum tokens of an answer.
        max_pixels: Maximum pixels that images are reduced to first; 0 does not reduce them.
        choices: How a multiple choice is answered.
        confidence: Whether the replies tell how sure the model is.
    """

    name: str
    settings: Settings
    max_tokens: int
    max_pixels: int
    choices: Choices = Choices.WRITTEN
    confidence: Confidence = Confidence.IGNORED


def parse_subject(
    text: str, config: Path | None, flags: Mapping[str, Any], max_tokens: int
) -> SubjectSpec:
    """Parses `MODEL name=value ...` or `URL name=value ...`.

    Names are max_tokens, max_pixels, choices and, for a model, its engine's settings; for a URL,
    those of an entry of `remotes`.

    Raises:
        ConfigError: A name is unknown, or a value is invalid.
    """
    first, *rest = text.split() or [""]
    given: dict[str, str] = {}
    for part in rest:
        name, separator, value = part.partition("=")
        if not name or not separator:
            raise ConfigError(
                f"The subject {text} has {part} where name=value was expected, such as "
                "max_tokens=64. Quote the whole subject."
            )
        given[name] = value
    tokens = _count(given, "max_tokens", max_tokens)
    pixels = _count(given, "max_pixels", 0)
    choices = _choices(given)
    settings: dict[str, Any]
    if "://" in first:
        entry = " ".join([first, *(f"{name}={value}" for name, value in given.items())])
        settings = {"engine": REMOTE, "remotes": (entry,)}
    else:
        known = EngineSettings.model_fields.keys() - _FROM_FIRST_WORD - _OF_SERVING
        if unknown := given.keys() - known:
            raise ConfigError(
                f"The subject {text} has the unknown name {min(unknown)}. Expected one of: "
                f"max_tokens, max_pixels, choices, {', '.join(sorted(known))}."
            )
        settings = {**given, "model": first, "remotes": ()}
    found = settings_from(config, {**flags, **settings})
    served = _quiet(_alone(found, found.engine))
    return SubjectSpec(text, served, tokens, pixels, choices)


def of_model(spec: SubjectSpec, model: Path, name: str) -> SubjectSpec:
    """The subject that answers with another model, and is else the same."""
    engine = spec.settings.engine.model_copy(update={"model": str(model)})
    return replace(spec, name=name, settings=_alone(spec.settings, engine))


def bundle_of(spec: SubjectSpec) -> Bundle | None:
    """The bundle that answers for a subject on this machine; None if there is none.

    Raises:
        ConfigError: The model is unknown, or its manifest is malformed.
        EnvironmentFault: The model is not here.
    """
    engine = spec.settings.engine
    if engine.remotes or not needs_model(engine.engine):
        return None
    return locate_model(engine.model, os.environ).bundle


def _alone(settings: Settings, engine: EngineSettings) -> Settings:
    """Drops the tables of models: the subject's words are its model's settings."""
    return with_models(settings, engine, {})


def _quiet(settings: Settings) -> Settings:
    """Turns off early refusal and image reduction, so that load does not change the answers.

    What is only measured needs no gate.
    """
    admission = settings.admission.model_copy(update={"slo": 0.0, "resolution_curve": {}})
    engine = settings.engine.model_copy(update={"ungated": True})
    return settings.model_copy(update={"admission": admission, "engine": engine})


def _count(given: dict[str, str], name: str, default: int) -> int:
    text = given.pop(name, None)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{name} is {text[:40]}; expected a whole number, at least 1.")
    return int(text)


def _choices(given: dict[str, str]) -> Choices:
    text = given.pop("choices", Choices.WRITTEN)
    if text not in set(Choices):
        raise ConfigError(f"choices is {text[:40]}; expected {' or '.join(Choices)}.")
    return Choices(text)


class GatewayAsker:
    """Asks one subject; implements `evaluate.run.Asker`."""

    def __init__(self, spec: SubjectSpec, answering: Answering, intake: Intake) -> None:
        """Takes an open `Answering` and a started intake."""
        self._spec = spec
        self._answering = answering
        self._intake = intake
        self._max_bytes = spec.settings.limits.max_image_bytes
        told = Feature.LOGPROBS in answering.models.default.info.features
        wanted = spec.confidence is not Confidence.IGNORED
        logprobs = 0 if wanted and told else None
        self._sampling = Sampling(max_tokens=spec.max_tokens, logprobs=logprobs)

    def subject(self) -> Subject:
        """Describes the subject."""
        info, engine = self._answering.models.default.info, self._spec.settings.engine
        options = answer_options(engine)
        if engine.remotes:
            options["url"] = engine.remotes[0].url
        if self._spec.choices is Choices.LIKELY:
            options["choices"] = Choices.LIKELY
        if self._spec.confidence is Confidence.NEEDED:
            options["confidence"] = "told"  # answers without it do not count
        return Subject(
            name=self._spec.name,
            model=self._answering.models.default.label,
            engine=info.engine,
            precision=info.precision,
            max_tokens=self._spec.max_tokens,
            max_pixels=self._spec.max_pixels,
            options=options,
            versions=library_versions(info.engine),
            content="" if (bundle := bundle_of(self._spec)) is None else content_digest(bundle),
        )

    async def ask(self, item: Item) -> Asked:
        """Asks about an item, without the cache. Raises `SilklineError` if there is no answer."""
        record = RequestRecord(id=uuid.uuid4().hex)
        source = await asyncio.to_thread(source_of, item.image, self._max_bytes)
        source = replace(source, pixels=PixelRange(max_pixels=self._spec.max_pixels or None))
        question = question_about(item, source, self._sampling_of(item))
        answer = await self._answering.answer(question, record)
        model = self._answering.models.default
        budget, salt = model.info.pixel_budget, record.tenant.salt
        known = self._intake.recognise((source,), budget, salt, model.wanted_images)
        return Asked(answer, known[0].images[0].original_pixels if known else 0)

    def _sampling_of(self, item: Item) -> Sampling:
        if self._spec.choices is Choices.WRITTEN or not item.choices:
            return self._sampling
        letters = json.dumps(list(string.ascii_uppercase[: len(item.choices)]))
        return replace(self._sampling, constraint=Constraint(ConstraintKind.CHOICE, letters))


@asynccontextmanager
async def open_subject(
    spec: SubjectSpec, intake: Intake, on_notice: OnNotice
) -> AsyncGenerator[GatewayAsker, None]:
    """Loads the model, or connects to the server.

    Raises:
        ConfigError: As `open_answering` does; or the engine cannot take the most likely choice, or
            not report log-probabilities.
        EnvironmentFault: As `open_answering` does; or the server does not respond.
    """
    remote = bool(spec.settings.engine.remotes)
    async with AsyncExitStack() as stack:
        try:
            # A gateway waits until its servers are up; a command should fail instead.
            async with asyncio.timeout(_SERVER_SECONDS if remote else None):
                opening = open_answering(spec.settings, intake, on_notice)
                answering = await stack.enter_async_context(opening)
        except TimeoutError as error:
            raise EnvironmentFault(
                f"{spec.name.split()[0]} did not list its models within {_SERVER_SECONDS:g} s. "
                "Start the server, or check its URL, its model's name and its key."
            ) from error
        info = answering.models.default.info
        if spec.choices is Choices.LIKELY and Feature.CHOICE not in info.features:
            raise ConfigError(
                f"The engine {info.engine} cannot constrain answers to choices, which "
                "choices=likely takes. Leave it out, or use another engine."
            )
        if spec.confidence is Confidence.NEEDED and Feature.LOGPROBS not in info.features:
            raise ConfigError(
                f"The engine {info.engine} does not report log-probabilities, which tell how sure "
                f"{info.model} is. Use another engine."
            )
        yield GatewayAsker(spec, answering, intake)


def question_about(
    item: Item, source: Source, sampling: Sampling, model: str | None = None
) -> Question:
    """Returns the question of an item, which the cache does not answer.

    Args:
        item: The item.
        source: Its image, by `source_of`.
        sampling: How to choose tokens.
        model: The name of the model; None asks the default model.
    """
    return Question(
        model=model,
        messages=(Message(Role.USER, (ImagePart(0), TextPart(item.prompt))),),
        sources=(source,),
        sampling=sampling,
        stream=False,
        cache_use=CacheUse.NONE,
    )


def source_of(image: ItemImage, max_bytes: int) -> Source:
    """Returns an item's image as an intake source. Raises as `read_image` and `parse_url` do."""
    if image.kind is ImageKind.URL:
        return parse_url(image.text, param=_PARAM)
    if image.kind is ImageKind.BASE64:
        return parse_base64(image.text, param=_PARAM)
    return read_image(image.text, max_bytes, param=_PARAM)
