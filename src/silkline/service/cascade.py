"""A cascade: a served model that asks a small model first, and a large one where that is unsure.

It has no engines of its own. The small model's answer is held back until it is complete. As soon as
one of its tokens is less likely than the threshold, the small model stops, and the large one
answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Protocol

from silkline.core import Delta, EngineInfo, Feature, PixelBudget, Request, Stage, Timeline
from silkline.core.answer import confidence
from silkline.errors import ConfigError, DeadlineExceeded, shutting_down
from silkline.routing.attempt import Attempt
from silkline.routing.health import PoolHealth
from silkline.service.pool import CASCADE
from silkline.service.served_model import ServedModel

_REVISION_LENGTH = 12


class FindModel(Protocol):
    """Finds a served model by its name in the API."""

    def __call__(self, name: str) -> ServedModel | None:
        """Returns the model; None if it is not served."""


class CascadePool:
    """The models of a cascade, used like the engines of one model."""

    def __init__(self, name: str, models: Sequence[str], threshold: float, find: FindModel) -> None:
        """Describes a cascade; its models are looked up for each request, so they may be replaced.

        Args:
            name: The cascade's name in the API.
            models: The names of the small and of the large model.
            threshold: The probability of a token below which the large model answers, 0 to 1.
            find: Finds the models.
        """
        self._name, self._threshold, self._find = name, threshold, find
        self._small, self._large = models
        self._closing = False
        self._in_flight = 0
        self._described: tuple[EngineInfo, EngineInfo, EngineInfo] | None = None
        self.answered = dict.fromkeys(models, 0)
        """Answers so far, by the model that gave them."""

    async def start(self) -> None:
        """Returns when both models have started.

        Raises:
            ConfigError: One of them is not served here, or the small one does not report
                log-probabilities.
            SilklineError: One of them cannot start.
        """
        small, large = self._models()
        await asyncio.gather(small.start(), large.start())
        if Feature.LOGPROBS not in small.info.features:
            raise ConfigError(
                f"The cascade {self._name} needs the log-probabilities of {self._small}, which its "
                f"engine {small.info.engine} does not report. Choose another engine for it."
            )

    @property
    def info(self) -> EngineInfo:
        """What both models can do; its revision changes with theirs and with the threshold.

        Raises:
            Overloaded: One of them has not started yet.
        """
        small, large = (model.info for model in self._models())
        if self._described is None or self._described[:2] != (small, large):
            self._described = small, large, self._describe(small, large)
        return self._described[2]

    def _describe(self, small: EngineInfo, large: EngineInfo) -> EngineInfo:
        content = f"{small.label} {large.label} {self._threshold!r}"
        return replace(
            large,
            engine=CASCADE,
            model=self._name,
            revision=hashlib.sha256(content.encode()).hexdigest()[:_REVISION_LENGTH],
            context_length=min(small.context_length, large.context_length),
            image_tokens=max(small.image_tokens, large.image_tokens),
            pixel_budget=_larger(small.pixel_budget, large.pixel_budget),
            features=small.features & large.features,
            path="",
        )

    @property
    def ready(self) -> bool:
        """Whether both models would answer."""
        return not self._closing and all(model.ready for model in self._models())

    def capacity(self) -> int:
        """Maximum requests at the small model, which sees all of them first."""
        small, _ = self._models()
        return 0 if self._closing or small.engines is None else small.engines.capacity()

    def serve(self) -> None:
        """Does nothing: its models give their own slots."""

    def health(self) -> PoolHealth:
        """A snapshot of the status: no replicas, which belong to its models."""
        return PoolHealth(
            in_flight=self._in_flight, waiting=0, retries=0, quarantines=0, replicas=()
        )

    async def generate(
        self, request: Request, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Answers one request; closing the stream ends the computation.

        The usage is that of the model that answered; the timeline has the work of both.

        Args:
            request: The request.
            attempts: Gets a record of each attempt of both models.

        Raises:
            DeadlineExceeded: The request's timeout ended before the large model was asked.
            ConfigError: One of the models is no longer served here.
            SilklineError: As `EnginePool.generate` of the models.
        """
        if self._closing:
            raise shutting_down()
        small, large = self._models()
        began = time.monotonic()
        self._in_flight += 1
        try:
            with ExitStack() as stack:
                stack.enter_context(small.used())
                stack.enter_context(large.used())
                held, sure = await self._tried(small, request, attempts)
                if sure:
                    self.answered[self._small] += 1
                    for delta in held:
                        yield delta if request.sampling.logprobs is not None else _bare(delta)
                    return
                left = request.timeout_seconds - (time.monotonic() - began)
                if left <= 0:
                    raise DeadlineExceeded("The answer was not complete within the timeout.")
                spent = Timeline({Stage.GENERATE: time.monotonic() - began})
                again = replace(request, timeout_seconds=left)
                async with aclosing(large.pool.generate(again, attempts)) as deltas:
                    async for delta in deltas:
                        yield _added(delta, spent)
                self.answered[self._large] += 1
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """Refuses further requests; its models stay. Idempotent."""
        self._closing = True

    async def _tried(
        self, model: ServedModel, request: Request, attempts: list[Attempt] | None
    ) -> tuple[list[Delta], bool]:
        """The small model's answer, and whether all of its tokens are likely enough."""
        asked = replace(
            request,
            sampling=replace(request.sampling, logprobs=request.sampling.logprobs or 0),
            idempotency_key="",  # it belongs to one call of a server, perhaps the large model's
        )
        held: list[Delta] = []
        async with aclosing(model.pool.generate(asked, attempts)) as deltas:
            async for delta in deltas:
                held.append(delta)
                if confidence(delta.logprobs) < self._threshold:
                    return held, False
        return held, True

    def _models(self) -> tuple[ServedModel, ServedModel]:
        small, large = (self._model(name) for name in (self._small, self._large))
        return small, large

    def _model(self, name: str) -> ServedModel:
        model = self._find(name)
        if model is None:
            raise ConfigError(
                f"The cascade {self._name} asks the model {name}, which is not served. Add its "
                "table, or remove the cascade."
            )
        return model


def _larger(first: PixelBudget, second: PixelBudget) -> PixelBudget:
    """The budget of an image that is large enough for both models."""
    edges = (first.shortest_edge, second.shortest_edge)
    known = [edge for edge in edges if edge is not None]
    return PixelBudget(
        max_pixels=max(first.max_pixels, second.max_pixels),
        shortest_edge=max(known) if len(known) == len(edges) else None,
        min_pixels=max(first.min_pixels, second.min_pixels),
    )


def _bare(delta: Delta) -> Delta:
    """A delta without the log-probabilities, which only the cascade asked for."""
    return replace(delta, logprobs=()) if delta.logprobs else delta


def _added(delta: Delta, spent: Timeline) -> Delta:
    if delta.timeline is None:
        return delta
    return replace(delta, timeline=delta.timeline.plus(spent))
