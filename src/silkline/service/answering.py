"""Answers a question: the one path that every route takes through the rooms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from silkline.admission.ticket import Ticket
from silkline.aio.byte_budget import Claim
from silkline.cache.answers import AnswerCache, AnswerStream
from silkline.cache.key import CacheRequest
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.config import Settings
from silkline.core import Answer, Delta, FinishReason, Request, Stage, Timeline
from silkline.errors import DeadlineExceeded, InternalFault, shutting_down
from silkline.ingress.identity import Identity
from silkline.ingress.intake import Intake, TakenImages
from silkline.observe.metrics import Metrics
from silkline.service.lifecycle import Lifecycle
from silkline.service.models import ServedModel, ServedModels
from silkline.service.question import Question, check_size, check_strictly, clamped, size_of
from silkline.service.record import RequestRecord

_NOT_COMPUTED = {CacheState.HIT, CacheState.COALESCED, CacheState.NEAR}
"""What the cache did when no engine worked for the request."""


@dataclass(slots=True)
class _Run:
    """One question on its way, and what its steps have found out.

    Attributes:
        question: What is asked.
        record: What the log line and the metrics say about the request.
        model: Who answers.
        policy: What the cache may do.
        known: The images' identities, where they are known without any work.
    """

    question: Question
    record: RequestRecord
    model: ServedModel
    policy: CachePolicy
    known: tuple[Identity, ...] | None

    def asked(self, images: Sequence[Identity], seconds_left: float) -> CacheRequest:
        """What the cache compares; `images` are those of the question, in its order."""
        return CacheRequest(
            self.question.messages,
            tuple(image.digest for image in images),
            self.question.sampling,
            seconds_left,
            self.question.stream,
            self.record.pixel_budget,
            images[0].perceptual if len(images) == 1 else None,
        )


class Answering:
    """Answers questions: images from the intake, kept answers from the cache, new ones computed."""

    def __init__(
        self,
        settings: Settings,
        *,
        intake: Intake,
        cache: AnswerCache,
        models: ServedModels,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._cache = cache
        self.models = models
        self._metrics = metrics
        self._lifecycle = lifecycle

    def seconds_left(self, record: RequestRecord) -> float:
        """What is left of the time that a request may take, 0 at least."""
        return max(0.0, self._settings.server.request_timeout - record.elapsed())

    async def answer(self, question: Question, record: RequestRecord) -> Answer:
        """Answers in one piece.

        Raises:
            InputError: The question or one of its images is wrong.
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
        """Answers chunk by chunk; the last delta's timeline spans the whole request.

        Raises:
            InputError, CapacityError: As `answer` does.
        """
        run = await self._begin(question, record)
        with run.model.admission.admit(
            record.tenant,
            size_of(question, run.known),
            run.model.info,
            timeout_seconds=self.seconds_left(record),
            elapsed_seconds=record.elapsed(),
            lookup=run.known is not None,
        ) as ticket:
            async with self._served(run, ticket) as served:
                record.cache = served.state
                if served.state in _NOT_COMPUTED:
                    ticket.needs_no_turn()
                waiting = question.stream
                async for delta in served.deltas:
                    if waiting and delta.text:
                        waiting = False
                        self._metrics.first_token(record.elapsed())
                    if delta.finish_reason is None:
                        yield delta
                    else:
                        yield self._ended(served.accounted(delta), run)

    async def _begin(self, question: Question, record: RequestRecord) -> _Run:
        """Chooses the model, and refuses what can be refused without any work."""
        if self._lifecycle.draining:
            raise shutting_down()
        model = self.models.choose(question.model)
        record.model = model.info.model
        record.served = model.label
        question = self._fitting(question, record, model)
        policy = CachePolicy(tenant=record.tenant.salt, use=question.cache_use)
        known = await self._recognise(question, model, policy)
        return _Run(question, record, model, policy, known)

    def _fitting(self, question: Question, record: RequestRecord, model: ServedModel) -> Question:
        """The question, asking for no more tokens than there can be."""
        limits = self._settings.limits
        check_size(question, limits)
        max_tokens = min(limits.max_answer_tokens, model.info.context_length)
        if limits.strict_fields:
            check_strictly(question, record.ignored, max_tokens)
        fitting = clamped(question, max_tokens)
        if fitting is not question:
            record.max_tokens = max_tokens
        return fitting

    async def _recognise(
        self, question: Question, model: ServedModel, policy: CachePolicy
    ) -> tuple[Identity, ...] | None:
        """The images' identities, where they are known without work and are of use."""
        if policy.use is not CacheUse.NORMAL or not question.sampling.is_deterministic:
            return None
        await self._intake.hash_large(question.sources)
        return self._intake.recognise(question.sources, model.info.pixel_budget, policy.tenant)

    @asynccontextmanager
    async def _served(self, run: _Run, ticket: Ticket) -> AsyncGenerator[AnswerStream, None]:
        """The answer: a kept one where the images are known, else by way of the images."""
        info, record = run.model.info, run.record
        if run.known is not None:
            # Under load the budget of new images shrinks; kept answers are of the full one.
            record.pixel_budget = info.pixel_budget.max_pixels
            asked = run.asked(run.known, self.seconds_left(record))
            began = time.monotonic()
            async with self._cache.find(asked, info, run.policy) as served:
                if served is not None:
                    yield served
                    return
            record.timeline = Timeline({Stage.CACHE: time.monotonic() - began})
            run.model.admission.cache_missed(ticket)
        record.pixel_budget = ticket.pixel_budget.max_pixels
        async with self._computed(run, ticket) as served:
            yield served

    @asynccontextmanager
    async def _computed(self, run: _Run, ticket: Ticket) -> AsyncGenerator[AnswerStream, None]:
        """The answer by way of the images; it may yet be a kept one."""
        with self._intake.holding(run.policy.tenant) as held:
            images = await self._take(run, ticket, held)
            run.record.timeline = run.record.timeline.plus(images.timeline)

            def generate() -> AsyncGenerator[Delta, None]:
                # Called in its turn: the time that it waited is no longer the engine's to spend.
                return run.model.pool.generate(self._request(run, images))

            def compute() -> AsyncGenerator[Delta, None]:
                # It may go on for others after this request, so it keeps what the images hold.
                return run.model.admission.computed(ticket, generate, held.kept())

            asked = run.asked(images.identities, self.seconds_left(run.record))
            looked = run.known == images.identities
            async with self._cache.serve(
                asked, run.model.info, run.policy, compute, looked=looked
            ) as served:
                yield served

    def _request(self, run: _Run, images: TakenImages) -> Request:
        return Request(
            id=run.record.id,
            messages=run.question.messages,
            images=images.images,
            sampling=run.question.sampling,
            timeout_seconds=self.seconds_left(run.record),
            stream=run.question.stream,
            idempotency_key=run.record.idempotency_key,
        )

    async def _take(self, run: _Run, ticket: Ticket, held: Claim) -> TakenImages:
        """Fetches and decodes the images."""
        try:
            async with asyncio.timeout(self.seconds_left(run.record)):
                images = await self._intake.take(
                    run.question.sources, ticket.pixel_budget, run.policy.tenant, held
                )
        except TimeoutError:
            timeout = self._settings.server.request_timeout
            raise DeadlineExceeded(
                f"The images did not come within the {timeout:g} s of a request."
            ) from None
        for identity in images.identities:
            self._metrics.image_came(identity.original_pixels)
        return images

    def _ended(self, last: Delta, run: _Run) -> Delta:
        if last.usage is None or last.timeline is None:
            raise InternalFault("The engine's last delta has no usage or no timeline.")
        record, tokens = run.record, last.usage.completion_tokens
        if last.finish_reason is FinishReason.LENGTH and tokens < run.question.sampling.max_tokens:
            record.max_tokens = tokens  # the prompt took the rest of the context
        record.timeline = record.timeline.plus(last.timeline)
        self._metrics.answered(last.usage, record.timeline)
        return Delta(last.text, last.finish_reason, last.usage, record.timeline)
