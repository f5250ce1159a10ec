"""Answers a question: every API route goes through this one path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from silkline.admission.ticket import Ticket
from silkline.aio.byte_budget import Claim
from silkline.cache.answers import AnswerCache, AnswerStream
from silkline.cache.key import CacheRequest
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.config import Settings
from silkline.core import (
    Answer,
    Delta,
    EngineInfo,
    FinishReason,
    PixelBudget,
    Request,
    Stage,
    Timeline,
    complete,
)
from silkline.errors import DeadlineExceeded, InternalFault, shutting_down
from silkline.ingress.identity import Recognised
from silkline.ingress.intake import Intake
from silkline.ingress.taking import TakenImages
from silkline.observe.metrics import Metrics
from silkline.service.features import check_features
from silkline.service.group import Group
from silkline.service.lifecycle import Lifecycle
from silkline.service.model_defaults import with_model_defaults
from silkline.service.models import ServedModels
from silkline.service.other_fields import sort_fields
from silkline.service.question import Question, check_size, check_strictly, clamped, size_of
from silkline.service.record import RequestRecord
from silkline.service.served_model import ServedModel

Choose = Callable[[Question, RequestRecord], tuple[ServedModel, Question]]
"""Returns the model that answers a question, and the question as it is put to that model.

It raises as `ServedModels.choose` does."""

_NOT_COMPUTED = {CacheState.HIT, CacheState.COALESCED, CacheState.NEAR}
"""Cache states in which no engine worked for the request."""


@dataclass(slots=True)
class _Run:
    """One question in progress, with the results of its earlier steps.

    Attributes:
        question: The question, with `max_tokens` within the limits.
        record: Collects what the log line and the metrics report about the request.
        model: The model that answers.
        info: What it is, under its name in the API.
        policy: How the request may use the cache.
        group: What it shares with other answers to the same question.
        known: The images' identities by source, if they are known without fetching or decoding;
            else None.
        budgets: The pixel budget of each image, once known.
    """

    question: Question
    record: RequestRecord
    model: ServedModel
    info: EngineInfo
    policy: CachePolicy
    group: Group
    known: tuple[Recognised, ...] | None
    budgets: tuple[PixelBudget, ...] = ()

    def limit_pixels(self, budget: PixelBudget) -> None:
        """Sets the pixel budget of each image: its own range within `budget`."""
        self.budgets = tuple(source.pixels.within(budget) for source in self.question.sources)
        pixels = tuple(own.max_pixels for own in self.budgets)
        self.record.pixel_budgets = pixels
        self.record.pixel_budget = min(pixels, default=budget.max_pixels)

    def note_images(self, recognised: Sequence[Recognised]) -> None:
        """Notes the images' identities, and adds what was mended in them to what was ignored."""
        self.record.details.images = tuple(one for found in recognised for one in found.images)
        paths = {
            mend: f"{source.param}.{mend}"
            for source, found in zip(self.question.sources, recognised, strict=True)
            for mend in found.mends
        }
        self.record.ignored = tuple(dict.fromkeys((*self.record.ignored, *paths.values())))

    def asked(self, recognised: Sequence[Recognised], seconds_left: float) -> CacheRequest:
        """Returns what the cache key is made of; `recognised` are in the question's order."""
        images = [identity for found in recognised for identity in found.images]
        return CacheRequest(
            self.question.messages_of([len(found.images) for found in recognised]),
            tuple(image.digest for image in images),
            self.question.sampling,
            seconds_left,
            self.question.stream,
            self.budgets,
            images[0].perceptual if len(images) == 1 else None,
            self.question.options,
        )


class Answering:
    """Answers questions: loads the images, looks in the cache, and computes what is missing."""

    def __init__(
        self,
        settings: Settings,
        *,
        intake: Intake,
        cache: AnswerCache,
        models: ServedModels,
        metrics: Metrics,
        lifecycle: Lifecycle,
        choose: Choose | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._cache = cache
        self.models = models
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._choose = choose or _named(models)

    def seconds_left(self, record: RequestRecord) -> float:
        """Returns the seconds left until the request's deadline, at least 0."""
        return max(0.0, self._settings.server.request_timeout - record.elapsed())

    def retains(self, record: RequestRecord) -> bool:
        """Whether the content of the request's tenant is kept for the request history."""
        return record.tenant.name in self._settings.history.history_content

    async def answer(self, question: Question, record: RequestRecord) -> Answer:
        """Returns the complete answer.

        Raises:
            InputError: The question or one of its images is invalid.
            CapacityError: It cannot be answered now, or not before its deadline.
        """
        async with aclosing(self.deltas(question, record)) as deltas:
            return completed([delta async for delta in deltas])

    async def deltas(
        self, question: Question, record: RequestRecord, group: Group | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Streams the answer; the last delta's timeline covers the whole request.

        Args:
            question: The question; its `choices` are not read.
            record: Collects what is found out.
            group: What the answer shares with other answers to the same question.

        Raises:
            InputError, CapacityError: As `answer` does.
            InternalFault: The engine's stream ended early.
        """
        ended = False
        details = record.details
        details.asks(
            question,
            record.elapsed(),
            retained=self.retains(record),
            observed=bool(self._settings.drift.drift_baseline),
        )
        async with (
            self._admitted(question, record, group or Group()) as (run, ticket),
            self._served(run, ticket) as served,
        ):
            record.cache = served.state
            if served.state in _NOT_COMPUTED:
                ticket.needs_no_turn()
            awaits_first = question.stream
            seen = details.answer_begins()
            async for delta in served.deltas:
                if awaits_first and (delta.text or delta.reasoning or delta.tool_calls):
                    awaits_first = False
                    details.first_token = record.elapsed()
                    self._metrics.first_token(record.model, details.first_token, record.id)
                if seen is not None:
                    seen.append(delta)
                if delta.finish_reason is None:
                    yield delta
                else:
                    ended = True
                    yield self._ended(served.accounted(delta), run)
        if not ended:
            raise _ended_early()

    @asynccontextmanager
    async def _admitted(
        self, question: Question, record: RequestRecord, group: Group
    ) -> AsyncGenerator[tuple[_Run, Ticket], None]:
        """Chooses the model, which it keeps to the end of the block, and admits the request."""
        record.is_question = True
        if self._lifecycle.draining:
            raise shutting_down()
        model, question = self._choose(question, record)
        with model.used():
            await model.awake(self.seconds_left(record))
            run = await self._begin(question, record, group, model)
            with model.admission.admit(
                record.tenant,
                size_of(question, run.known),
                run.info,
                timeout_seconds=self.seconds_left(record),
                elapsed_seconds=record.elapsed(),
                lookup=run.known is not None,
                group=run.group.tickets,
            ) as ticket:
                yield run, ticket

    async def _begin(
        self, question: Question, record: RequestRecord, group: Group, model: ServedModel
    ) -> _Run:
        """Refuses the request if that needs no further work, and recognises its images."""
        info = model.info
        record.model = info.model
        record.served = info.label
        question = self._fitting(question, record, model, info)
        policy = CachePolicy(tenant=record.tenant.salt, use=question.cache_use)
        known = await self._recognise(question, model, info, policy)
        run = _Run(question, record, model, info, policy, group, known)
        if known is not None:
            run.note_images(known)
        return run

    def _fitting(
        self, question: Question, record: RequestRecord, model: ServedModel, info: EngineInfo
    ) -> Question:
        """Checks the question against the limits, and reduces its `max_tokens` to the maximum."""
        limits = self._settings.limits
        check_size(question, limits)
        wanted = model.engine_settings
        extra, record.ignored = sort_fields(record.others, info, wanted.remotes)
        if extra:
            question = replace(question, sampling=replace(question.sampling, extra=extra))
        if wanted.sampling_defaults == "model":
            question = with_model_defaults(question, info)
        check_features(question, info)
        max_tokens = min(limits.max_answer_tokens, info.context_length)
        if limits.strict_fields:
            check_strictly(question, record.ignored, max_tokens)
        fitting = clamped(question, max_tokens)
        if fitting is not question:
            record.max_tokens = max_tokens
        return fitting

    async def _recognise(
        self, question: Question, model: ServedModel, info: EngineInfo, policy: CachePolicy
    ) -> tuple[Recognised, ...] | None:
        """Returns the images' identities by source if they are known without fetching and decoding.

        None if one is unknown, or if the cache is not used for this question.
        """
        if policy.use is not CacheUse.NORMAL or not question.sampling.is_deterministic:
            return None
        await self._intake.hash_large(question.sources)
        return self._intake.recognise(
            question.sources, info.pixel_budget, policy.tenant, model.wanted_images
        )

    @asynccontextmanager
    async def _served(self, run: _Run, ticket: Ticket) -> AsyncGenerator[AnswerStream, None]:
        """Looks in the cache if the images are known; otherwise loads them first."""
        record = run.record
        if run.known is not None:
            # Under load the pixel budget of new images shrinks; this looks up the full budget.
            run.limit_pixels(run.info.pixel_budget)
            asked = run.asked(run.known, self.seconds_left(record))
            began = time.monotonic()
            async with self._cache.find(asked, run.model.engine_info, run.policy) as served:
                if served is not None:
                    yield served
                    return
            record.timeline = Timeline({Stage.CACHE: time.monotonic() - began})
            run.model.admission.cache_missed(ticket)
        run.limit_pixels(ticket.pixel_budget)
        async with self._computed(run, ticket) as served:
            yield served

    @asynccontextmanager
    async def _computed(self, run: _Run, ticket: Ticket) -> AsyncGenerator[AnswerStream, None]:
        """Loads the images, then answers from the cache or the engine."""
        async with run.group.images(
            lambda: self._intake.holding(run.policy.tenant),
            lambda held: self._take(run, ticket, held),
        ) as (images, held):
            run.model.admission.measured(ticket, size_of(run.question, images.recognised))
            run.record.timeline = run.record.timeline.plus(images.timeline)
            looked = run.known == images.recognised
            if not looked:
                run.note_images(images.recognised)
            if run.record.details.content is not None:
                run.record.details.content.images = images.images

            def generate() -> AsyncGenerator[Delta, None]:
                # Called after the wait in the queue, which leaves less time for the engine.
                request, attempts = self._request(run, images), run.record.details.attempts
                return run.model.pool.generate(request, attempts)

            def compute() -> AsyncGenerator[Delta, None]:
                # It may continue for other requests after this one, so it keeps the images' bytes.
                return run.model.admission.computed(ticket, generate, _kept(held, run.model))

            asked = run.asked(images.recognised, self.seconds_left(run.record))
            async with self._cache.serve(
                asked, run.model.engine_info, run.policy, compute, looked=looked
            ) as served:
                yield served

    def _request(self, run: _Run, images: TakenImages) -> Request:
        trace = run.record.trace
        return Request(
            id=run.record.id,
            messages=run.question.messages_of([len(found.images) for found in images.recognised]),
            images=images.images,
            sampling=run.question.sampling,
            timeout_seconds=self.seconds_left(run.record),
            stream=run.question.stream,
            idempotency_key=run.record.idempotency_key,
            options=run.question.options,
            reuse_scope=run.policy.reuse_scope,
            trace_headers=() if trace is None else trace.headers,
        )

    async def _take(self, run: _Run, ticket: Ticket, held: Claim) -> TakenImages:
        """Fetches and decodes the images."""
        if not run.question.sources:
            return TakenImages()
        try:
            async with asyncio.timeout(self.seconds_left(run.record)):
                images = await self._intake.take(
                    run.question.sources,
                    ticket.pixel_budget,
                    run.policy.tenant,
                    held,
                    run.model.wanted_images,
                )
        except TimeoutError:
            timeout = self._settings.server.request_timeout
            raise DeadlineExceeded(
                f"The images were not loaded within the request's {timeout:g} s. "
                "Send smaller images, or send them as data URLs."
            ) from None
        for found in images.recognised:
            for identity in found.images:
                self._metrics.image_came(identity.original_pixels)
        return images

    def _ended(self, last: Delta, run: _Run) -> Delta:
        if last.usage is None or last.timeline is None or last.finish_reason is None:
            raise InternalFault("The engine's last delta has no usage or no timeline.")
        record, tokens = run.record, last.usage.completion_tokens
        if last.finish_reason is FinishReason.LENGTH and tokens < run.question.sampling.max_tokens:
            record.max_tokens = tokens  # the prompt filled the rest of the context
        record.timeline = record.timeline.plus(last.timeline)
        record.details.answer_ended(last.usage, last.finish_reason)
        self._metrics.answered(record.model, last.usage, record.timeline)
        return last.timed(record.timeline)


def _named(models: ServedModels) -> Choose:
    """Chooses the model that the question names."""
    return lambda question, _: (models.choose(question.model), question)


@contextmanager
def _kept(held: Claim, model: ServedModel) -> Iterator[None]:
    """Keeps the images' bytes and the model for a computation."""
    with held, model.used():
        yield


def completed(seen: Sequence[Delta]) -> Answer:
    """Returns the answer that the deltas make up.

    Raises:
        InternalFault: The last one is missing.
    """
    answer = complete(seen)
    if answer is None:
        raise _ended_early()
    return answer


def _ended_early() -> InternalFault:
    return InternalFault("The engine's stream ended without a finish reason.")
