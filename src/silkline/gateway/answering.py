"""From a question to its answer: the one path that every route takes through the rooms."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager

from silkline.admission.admission import Admission
from silkline.admission.ticket import Ticket
from silkline.cache.answers import AnswerCache, Served
from silkline.cache.key import Asked
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.config import Settings
from silkline.core import Answer, Delta, Request, Stage, Timeline
from silkline.engines.base import EngineInfo
from silkline.errors import DeadlineExceeded, InternalFault, ModelNotFound, shutting_down
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.question import Question, check_size, size_of
from silkline.gateway.request_record import RequestRecord
from silkline.ingress.byte_budget import Claim
from silkline.ingress.identity import Identity
from silkline.ingress.intake import Intake, Pictures
from silkline.observe.metrics import Metrics
from silkline.routing.pool import EnginePool

_NOT_COMPUTED = {CacheState.HIT, CacheState.COALESCED, CacheState.NEAR}
"""What the cache did when no engine worked for the request."""


class Answering:
    """Answers questions with the pictures from the intake and the engines of the pool."""

    def __init__(
        self,
        settings: Settings,
        *,
        intake: Intake,
        cache: AnswerCache,
        admission: Admission,
        pool: EnginePool,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._cache = cache
        self._admission = admission
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
        async with aclosing(self.deltas(question, record)) as deltas:
            async for delta in deltas:
                text.append(delta.text)
                if delta.finish_reason and delta.usage and delta.timeline:
                    whole = "".join(text)
                    return Answer(whole, delta.finish_reason, delta.usage, delta.timeline)
        raise InternalFault("The engine's stream ended without a finish reason.")

    async def deltas(
        self, question: Question, record: RequestRecord
    ) -> AsyncGenerator[Delta, None]:
        """Answers piece by piece; the last delta's timeline spans the whole request.

        Raises:
            InputError, CapacityError: As `answer` does.
        """
        self._check(question, record)
        policy = CachePolicy(tenant=record.tenant.salt, use=question.cache_use)
        known = await self._recognise(question, policy)
        with self._admission.admit(
            record.tenant,
            size_of(question, known),
            self.info,
            timeout_seconds=self.seconds_left(record),
            elapsed_seconds=record.elapsed(),
            lookup=known is not None,
        ) as ticket:
            async with self._served(question, record, policy, ticket, known) as served:
                record.cache = served.state
                if served.state in _NOT_COMPUTED:
                    ticket.needs_no_turn()
                waiting = question.stream
                async for delta in served.deltas:
                    if waiting and delta.text:
                        waiting = False
                        self._metrics.first_token(record.elapsed())
                    yield delta if delta.finish_reason is None else self._ended(delta, record)

    def _check(self, question: Question, record: RequestRecord) -> None:
        """Refuses what can be refused without any work."""
        if self._lifecycle.draining:
            raise shutting_down()
        if question.model is not None:
            self.check_model(question.model)
        record.model = self.info.model
        check_size(question, self._settings.limits)

    async def _recognise(
        self, question: Question, policy: CachePolicy
    ) -> tuple[Identity, ...] | None:
        """The pictures' identities, where they can be told without work and are of use."""
        if policy.use is not CacheUse.NORMAL or not question.sampling.is_deterministic:
            return None
        await self._intake.hash_large(question.sources)
        return self._intake.recognise(question.sources, self.info.pixel_budget, policy.tenant)

    @asynccontextmanager
    async def _served(
        self,
        question: Question,
        record: RequestRecord,
        policy: CachePolicy,
        ticket: Ticket,
        known: Sequence[Identity] | None,
    ) -> AsyncGenerator[Served, None]:
        """The answer: a kept one where the pictures are known, else by way of the pictures."""
        info = self.info
        if known is not None:
            # Under load the budget of new pictures shrinks; kept answers are of the full one.
            record.pixel_budget = info.pixel_budget.max_pixels
            asked = self._asked(question, record, known)
            began = time.monotonic()
            async with self._cache.find(asked, info, policy) as served:
                if served is not None:
                    yield served
                    return
            record.timeline = Timeline({Stage.CACHE: time.monotonic() - began})
            self._admission.cache_missed(ticket)
        record.pixel_budget = ticket.pixel_budget.max_pixels
        async with self._computed(question, record, policy, ticket, known) as served:
            yield served

    @asynccontextmanager
    async def _computed(
        self,
        question: Question,
        record: RequestRecord,
        policy: CachePolicy,
        ticket: Ticket,
        known: Sequence[Identity] | None,
    ) -> AsyncGenerator[Served, None]:
        """The answer by way of the pictures; it may yet be a kept one."""
        info = self.info
        with self._intake.holding(policy.tenant) as held:
            pictures = await self._take(question, record, ticket, policy.tenant, held)
            record.timeline = record.timeline.plus(pictures.timeline)

            def generate() -> AsyncGenerator[Delta, None]:
                # In its turn: the time that this was waited for is no longer the engine's to spend.
                return self._pool.generate(
                    Request(
                        id=record.id,
                        messages=question.messages,
                        images=pictures.images,
                        sampling=question.sampling,
                        timeout_seconds=self.seconds_left(record),
                        stream=question.stream,
                        idempotency_key=record.idempotency_key,
                    )
                )

            async def compute() -> AsyncGenerator[Delta, None]:
                # It may go on for others after this request.
                with held.kept():
                    async with aclosing(self._admission.computed(ticket, generate)) as deltas:
                        async for delta in deltas:
                            yield delta

            asked = self._asked(question, record, pictures.identities)
            looked = known == pictures.identities
            async with self._cache.serve(asked, info, policy, compute, looked=looked) as served:
                yield served

    async def _take(
        self,
        question: Question,
        record: RequestRecord,
        ticket: Ticket,
        scope: bytes,
        held: Claim,
    ) -> Pictures:
        timeout = self._settings.server.request_timeout
        try:
            async with asyncio.timeout(self.seconds_left(record)):
                pictures = await self._intake.take(
                    question.sources, ticket.pixel_budget, scope, held
                )
        except TimeoutError:
            raise DeadlineExceeded(
                f"The pictures did not come within the {timeout:g} s of a request."
            ) from None
        for identity in pictures.identities:
            self._metrics.picture_came(identity.original_pixels)
        return pictures

    def _asked(
        self, question: Question, record: RequestRecord, pictures: Sequence[Identity]
    ) -> Asked:
        return Asked(
            question.messages,
            tuple(picture.digest for picture in pictures),
            question.sampling,
            self.seconds_left(record),
            question.stream,
            record.pixel_budget,
            pictures[0].perceptual if len(pictures) == 1 else None,
        )

    def _ended(self, last: Delta, record: RequestRecord) -> Delta:
        if last.usage is None or last.timeline is None:
            raise InternalFault("The engine's last delta has no usage or no timeline.")
        record.timeline = record.timeline.plus(last.timeline)
        self._metrics.answered(last.usage, record.timeline)
        return Delta(last.text, last.finish_reason, last.usage, record.timeline)


def evidence_headers(record: RequestRecord, served: str) -> dict[str, str]:
    """The headers that say what answered, from where, of how many pixels, and in what time.

    `server-timing` has each stage in milliseconds: https://www.w3.org/TR/server-timing/.
    """
    headers = {
        "x-silkline-cache": record.cache,
        "x-silkline-model": served,
        "x-silkline-pixel-budget": str(record.pixel_budget),
    }
    stages = ", ".join(
        f"{stage.value};dur={seconds * 1000:.2f}"
        for stage, seconds in record.timeline.seconds.items()
    )
    return {**headers, "server-timing": stages} if stages else headers


def rounded(timeline: Timeline) -> dict[str, float]:
    """A timeline for a response's body: seconds by stage, to the microsecond."""
    return {
        stage.value: math.floor(seconds * 1e6) / 1e6 for stage, seconds in timeline.seconds.items()
    }
