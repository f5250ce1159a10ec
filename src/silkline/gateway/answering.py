"""From a question to its answer: the one path that every route takes through the rooms."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from silkline.cache.answers import AnswerCache
from silkline.cache.key import Asked
from silkline.cache.policy import CachePolicy
from silkline.config import Settings
from silkline.core import Answer, Delta, Request, Timeline
from silkline.engines.base import EngineInfo
from silkline.errors import DeadlineExceeded, InternalFault, ModelNotFound, ShuttingDown
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.question import Question, check_size
from silkline.gateway.scope import RequestRecord
from silkline.ingress.intake import Intake
from silkline.observe.metrics import Metrics
from silkline.routing.pool import EnginePool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose pictures have come, how it may use the cache, and what that took."""

    request: Request
    policy: CachePolicy
    timeline: Timeline


class Answering:
    """Answers questions with the pictures from the intake and the engines of the pool."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        cache: AnswerCache,
        pool: EnginePool,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._cache = cache
        self._pool = pool
        self._metrics = metrics
        self._lifecycle = lifecycle

    @property
    def info(self) -> EngineInfo:
        """What is served.

        Raises:
            Overloaded: No engine has started yet.
        """
        return self._pool.info

    def check_model(self, name: str) -> None:
        """Takes the served model's name, alone or with its revision as `name@revision`.

        Raises:
            ModelNotFound: Another model is asked for.
        """
        info = self.info
        if name not in {info.model, f"{info.model}@{info.revision}"}:
            raise ModelNotFound(
                f"The model asked for is not served here. Ask for {info.model}.", param="model"
            )

    @property
    def served(self) -> str:
        """The model's name and the digest of its bundle, as answers carry it."""
        return f"{self.info.model}@{self.info.revision}"

    def seconds_left(self, record: RequestRecord) -> float:
        """What is left of the time that a request may take, 0 at least."""
        return max(0.0, self._settings.server.request_timeout - record.elapsed())

    async def answer(self, question: Question, record: RequestRecord) -> Answer:
        """Answers in one piece.

        Raises:
            InputError: The question or one of its pictures is wrong.
            CapacityError: It cannot be answered now, or not in its time.
        """
        text: list[str] = []
        async with (
            self.asked(question, record) as prepared,
            aclosing(self.stream(prepared, record)) as deltas,
        ):
            async for delta in deltas:
                text.append(delta.text)
                if delta.finish_reason and delta.usage and delta.timeline:
                    whole = "".join(text)
                    return Answer(whole, delta.finish_reason, delta.usage, delta.timeline)
        raise InternalFault("The engine's stream ended without a finish reason.")

    @asynccontextmanager
    async def asked(
        self, question: Question, record: RequestRecord
    ) -> AsyncGenerator[Prepared, None]:
        """Takes a place for the question until its answer ends, and brings its pictures in.

        Raises:
            InputError, CapacityError: As `answer` does.
        """
        if self._lifecycle.draining:
            raise ShuttingDown("This server is shutting down. Send the request again.")
        if question.model is not None:
            self.check_model(question.model)
        record.model = self.info.model
        check_size(question, self._settings.limits)
        with self._pool.reserve():
            yield await self._prepare(question, record)

    async def stream(
        self, prepared: Prepared, record: RequestRecord
    ) -> AsyncGenerator[Delta, None]:
        """Answers piece by piece; the last delta's timeline spans the whole request."""
        request = prepared.request
        waiting = request.stream
        asked = Asked(
            request.messages,
            tuple(image.digest for image in request.images),
            request.sampling,
            request.timeout_seconds,
            request.stream,
        )
        async with self._cache.serve(
            asked, self.info, prepared.policy, lambda: self._pool.generate(request)
        ) as served:
            record.cache = served.state
            async for delta in served.deltas:
                if waiting and delta.text:
                    waiting = False
                    self._metrics.first_token(record.elapsed())
                yield delta if delta.finish_reason is None else self._ended(delta, prepared)

    async def _prepare(self, question: Question, record: RequestRecord) -> Prepared:
        timeout = self._settings.server.request_timeout
        try:
            async with asyncio.timeout(self.seconds_left(record)):
                pictures = await self._intake.take(question.sources, self.info.pixel_budget)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The pictures did not come within the {timeout:g} s of a request."
            ) from None
        for pixels in pictures.original_pixels:
            self._metrics.picture_came(pixels)
        request = Request(
            id=record.id,
            messages=question.messages,
            images=pictures.images,
            sampling=question.sampling,
            timeout_seconds=self.seconds_left(record),
            stream=question.stream,
        )
        return Prepared(request, CachePolicy(use=question.cache_use), pictures.timeline)

    def _ended(self, last: Delta, prepared: Prepared) -> Delta:
        if last.usage is None or last.timeline is None:
            raise InternalFault("The engine's last delta has no usage or no timeline.")
        timeline = prepared.timeline.plus(last.timeline)
        self._metrics.answered(last.usage, timeline)
        return Delta(last.text, last.finish_reason, last.usage, timeline)


def evidence_headers(record: RequestRecord, served: str, timeline: Timeline) -> dict[str, str]:
    """The headers that say what answered, from where, and in what time.

    `server-timing` has each stage in milliseconds: https://www.w3.org/TR/server-timing/.
    """
    headers = {"x-silkline-cache": record.cache, "x-silkline-model": served}
    stages = ", ".join(
        f"{stage.value};dur={seconds * 1000:.2f}" for stage, seconds in timeline.seconds.items()
    )
    return {**headers, "server-timing": stages} if stages else headers


def rounded(timeline: Timeline) -> dict[str, float]:
    """A timeline for a response's body: seconds by stage, to the microsecond."""
    return {
        stage.value: math.floor(seconds * 1e6) / 1e6 for stage, seconds in timeline.seconds.items()
    }
