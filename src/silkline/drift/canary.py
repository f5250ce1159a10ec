"""The canary set: a few known questions, asked again and again on the path of all questions."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from silkline.admission.tenant import Tenant
from silkline.config import CanarySettings
from silkline.core import Sampling
from silkline.drift.journal import Journal, Reply, Run
from silkline.errors import BUSY, SilklineError, http_face
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.evaluate.metrics.catalogue import Metric, choose_metrics
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.answering import Answering
from silkline.service.record import RequestRecord
from silkline.service.subject import question_about, source_of

logger = logging.getLogger("silkline.drift")

TENANT = Tenant("canary", weight=0.01, salt=b"canary")
"""Asks below live traffic: under load it gets one turn where others get a hundred."""

_AGAIN = 2
"""How often an item is asked again before its answer counts as changed."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The answer to an item, or the error that it ended in."""

    text: str
    error: SilklineError | None = None


class CanarySet:
    """Asks the items of a set, and compares the answers with those of the first run.

    The first answers of a model's revision are what its later ones must be. An answer that differs
    is asked for again; it counts as changed if it never is the same again.
    """

    def __init__(
        self,
        settings: CanarySettings,
        dataset: Dataset,
        answering: Answering,
        journal: Journal,
        *,
        max_image_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the data set, what answers, and the journal; `clock` returns Unix time."""
        self.settings = settings
        self.items = dataset.items
        self._metric: Metric | None = next(iter(choose_metrics((), dataset.items)), None)
        self._answering = answering
        self._journal = journal
        self._max_image_bytes = max_image_bytes
        self._clock = clock
        self.last: dict[str, Run] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that are asked."""
        return self.settings.canary_models or (self._answering.models.default.name,)

    async def run(self) -> None:
        """Asks all models if a run is due; else takes over what another process found.

        Raises:
            Overloaded: The journal fails.
        """
        models = [self._answering.models.find(name) for name in self.models]
        ready = [model for model in models if model is not None and model.ready]
        if ready and await self._journal.claim(self._clock(), self.settings.canary_every):
            for model in ready:
                await self._ask_model(model.name, model.label)
        self.last = {run.model: run for run in await self._journal.latest()}

    async def _ask_model(self, name: str, label: str) -> None:
        began = self._clock()
        expected = await self._journal.expected(label)
        replies = [await self._judged(name, item, expected.get(item.key)) for item in self.items]
        scored = self._scored(replies)
        scores = [reply.score for reply in scored if reply.score is not None]
        run = Run(
            name,
            label,
            began,
            self._clock() - began,
            "" if self._metric is None else self._metric.name,
            sum(scores) / len(scores) if scores else None,
            tuple(scored),
        )
        first = {
            item.key: reply.answer
            for item, reply in zip(self.items, replies, strict=True)
            if reply.state == "first"
        }
        await self._journal.add_run(run, first)
        self._log(run)

    async def _judged(self, model: str, item: Item, expected: str | None) -> Reply:
        """Asks for an item, again if the answer differs from the expected one."""
        told = await self._asked(model, item)
        if told.error is not None:
            code = http_face(told.error).code
            return Reply(item.id, _state_of(told.error), code)
        if expected is None or told.text == expected:
            return Reply(item.id, "first" if expected is None else "same", told.text)
        for _ in range(_AGAIN):
            again = await self._asked(model, item)
            if again.error is None and again.text == expected:
                return Reply(item.id, "unsteady", told.text, expected)
        return Reply(item.id, "changed", told.text, expected)

    async def _asked(self, model: str, item: Item) -> _Told:
        record = RequestRecord(id=f"canary-{uuid.uuid4().hex}", tenant=TENANT, is_probe=True)
        try:
            source = await asyncio.to_thread(source_of, item.image, self._max_image_bytes)
            sampling = Sampling(max_tokens=self.settings.canary_max_tokens)
            question = question_about(item.prompt, source, sampling, model=model)
            answer = await self._answering.answer(question, record)
        except SilklineError as error:
            return _Told("", error)
        return _Told(answer.text)

    def _scored(self, replies: Sequence[Reply]) -> list[Reply]:
        if self._metric is None:
            return list(replies)
        answered = [reply.state not in {"failed", "skipped"} for reply in replies]
        values = self._metric.score(self.items, [reply.answer for reply in replies])
        return [
            Reply(reply.item, reply.state, reply.answer, reply.expected, value if is_one else None)
            for reply, value, is_one in zip(replies, values, answered, strict=True)
        ]

    def _log(self, run: Run) -> None:
        fields = {"silkline.model": run.served, "silkline.canary": run.count("changed")}
        wrong = run.count("changed") + run.count("failed")
        logger.log(
            logging.WARNING if wrong else logging.INFO,
            "canary set: %d of %d answers changed, %d failed, %d skipped",
            run.count("changed"),
            len(run.replies),
            run.count("failed"),
            run.count("skipped"),
            extra={"ecs": fields},
        )

    def readings(self) -> Iterator[Reading]:
        """Metrics of the last runs."""
        for model, run in self.last.items():
            yield catalogue.CANARY_ITEMS, (model,), len(run.replies)
            yield catalogue.CANARY_TIME, (model,), run.at
            for state in ("changed", "unsteady", "failed", "skipped"):
                yield catalogue.CANARY_ANSWERS, (model, state), run.count(state)
            if run.score is not None:
                yield catalogue.CANARY_SCORE, (model, run.metric), run.score


def _state_of(error: SilklineError) -> str:
    return "skipped" if isinstance(error, BUSY) else "failed"
