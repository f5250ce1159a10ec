"""The shadow of an experiment: the other model answers a sample of requests, and is never served.

It begins when the live answer has been sent, runs in idle capacity, and uses no answer cache. What
it may cost is bounded: the comparisons in progress, and the seconds of computing in each hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from silkline.admission.tenant import Tenant
from silkline.cache.policy import CacheUse
from silkline.config.experiments import ExperimentSettings
from silkline.core import Answer, Feature, complete
from silkline.errors import BUSY, SERVER_FAULTS, SilklineError, http_face
from silkline.experiments.assignment import position
from silkline.experiments.change import changed
from silkline.experiments.journal import Journal
from silkline.experiments.scorers.known import OWN
from silkline.experiments.scorers.scorer import Pair, Score, Tools, find_scorer
from silkline.experiments.tally import Scored, Tally
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.answering import Answering
from silkline.service.idle import Idle
from silkline.service.question import Question
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.experiments")

TENANT = Tenant("shadow", weight=0.01, salt=b"shadow")
"""Asks below live traffic, like the canary set."""

OUTCOMES = ("compared", "busy", "budget", "failed", "unscored")
"""How a sampled request ended: compared; not, because others were in progress or the hour's budget
was spent; the other model failed; no scorer could tell."""

_HOUR_SECONDS = 3600.0
_ROOM_SECONDS = 60.0
"""How long a comparison waits for idle capacity."""

_BUSY: tuple[type[Exception], ...] = (*BUSY, TimeoutError)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a shadow computes with.

    Attributes:
        answering: Answers questions.
        idle: Says when there is room.
    """

    answering: Answering
    idle: Idle


class _Live(NamedTuple):
    """A request that was answered live."""

    record: RequestRecord
    question: Question
    text: str
    by_candidate: bool


class Shadow:
    """The shadow of one experiment."""

    def __init__(
        self,
        name: str,
        settings: ExperimentSettings,
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Finds the scorers; `clock` returns Unix time.

        Raises:
            ConfigError: There is no such scorer.
            EnvironmentFault: A scorer cannot be imported.
        """
        self.settings = settings.shadow
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.seconds = 0.0
        self.capacity: Capacity | None = None
        self._name = name
        self._experiment = settings
        self._journal = journal
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._scored: list[Scored] = []
        self._hour, self._spent = -1.0, 0.0
        tools = Tools(self.settings, self._ask, self._takes_schema)
        self._scorers: dict[str, Score] = {}
        if self.settings.share:
            names = self.settings.scorers
            self._scorers = {one: find_scorer(one, OWN).create(tools) for one in names}

    def wants(self, request: str) -> bool:
        """Whether a request is in the sample, and there is room for a comparison."""
        if not self._scorers or self.capacity is None:
            return False
        if position(f"{self._name} shadow", request.encode()) >= self.settings.share:
            return False
        return self._has_room()

    def take(self, record: RequestRecord, *, by_candidate: bool) -> None:
        """Begins a comparison with the answer to a request that has ended; returns at once."""
        question, answers = record.shadowed, record.details.answers
        answer = complete(answers[0]) if answers else None
        if question is None or answer is None or record.error is not None or not self._has_room():
            return  # the answer is incomplete if its client left
        live = _Live(record, question, answer.text, by_candidate)
        task = asyncio.create_task(self._compare(live), name=f"shadow of {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def write(self) -> None:
        """Writes the new scores; the experiment counts them when it reads them.

        Raises:
            Overloaded: The journal fails; the next call tries again.
        """
        written = list(self._scored)
        if written:
            await self._journal.score(self._name, written)
            del self._scored[: len(written)]

    async def aclose(self) -> None:
        """Stops all comparisons."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def shown(self) -> dict[str, Any]:
        """Its state and its cost, for the admin API."""
        return {
            "share": self.settings.share,
            "requests": dict(self.counts),
            "in_progress": len(self._tasks),
            "seconds": round(self.seconds, 3),
            "seconds_left_this_hour": round(self._left(), 3),
        }

    def readings(self, tally: Tally) -> Iterator[Reading]:
        """Its metrics; none without a share."""
        if not self.settings.share:
            return
        yield catalogue.EXPERIMENT_SHADOW_SECONDS, (self._name,), self.seconds
        for outcome, count in self.counts.items():
            yield catalogue.EXPERIMENT_SHADOW, (self._name, outcome), count
        for name, score in tally.scores.items():
            yield catalogue.EXPERIMENT_SCORE, (self._name, name), score.mean

    def _has_room(self) -> bool:
        if len(self._tasks) >= self.settings.at_once:
            self.counts["busy"] += 1
            return False
        if self._left() <= 0:
            self.counts["budget"] += 1
            return False
        return True

    def _left(self) -> float:
        """Seconds of computing that are left in this hour."""
        hour = self._clock() // _HOUR_SECONDS
        if hour != self._hour:
            self._hour, self._spent = hour, 0.0
        return max(0.0, self.settings.seconds_an_hour - self._spent)

    async def _compare(self, live: _Live) -> None:
        """Whatever fails here has no effect on anything live."""
        try:
            outcome = await self._outcome(live)
        except _BUSY:
            outcome = "busy" if self._left() else "budget"
        except SilklineError as error:
            logger.info("a shadow was not compared: %s", http_face(error).code)
            outcome = "failed"
        except Exception:
            logger.exception("internal error in the shadow of %s", self._name)
            outcome = "failed"
        self.counts[outcome] += 1

    async def _outcome(self, live: _Live) -> str:
        experiment = self._experiment
        asked = replace(live.question, model=experiment.model)
        if not live.by_candidate:
            asked = replace(live.question, model=experiment.candidate)
            asked = changed(asked, experiment.changes)
        try:
            other = (await self._ask(asked)).text
        except _BUSY:
            raise
        except SilklineError as error:
            if http_face(error).code not in SERVER_FAULTS:
                raise
            # A model that fails where the other one answers is worse.
            worse = 1.0 if live.by_candidate else -1.0
            self._add(live.record, dict.fromkeys(self._scorers, worse))
            return "failed"
        texts = (other, live.text) if live.by_candidate else (live.text, other)
        pair = Pair(live.record.id, live.question, *texts)
        scores = {name: await self._score(name, pair) for name in self._scorers}
        found = {name: value for name, value in scores.items() if value is not None}
        self._add(live.record, found)
        return "compared" if found else "unscored"

    async def _score(self, name: str, pair: Pair) -> float | None:
        try:
            return await self._scorers[name](pair)
        except (SilklineError, TimeoutError) as error:
            logger.info("the scorer %s has no score: %s", name, type(error).__name__)
            return None

    def _add(self, record: RequestRecord, scores: dict[str, float]) -> None:
        now = self._clock()
        for name, value in scores.items():
            self._scored.append(Scored(record.id, record.tenant.name, name, value, now))

    async def _ask(self, question: Question) -> Answer:
        """Puts a question to a model in idle capacity, and counts the seconds.

        Raises:
            SilklineError: As `Answering.answer` does.
            TimeoutError: There was no room, or the hour's budget is spent.
        """
        if self.capacity is None:
            raise TimeoutError
        answering, idle = self.capacity.answering, self.capacity.idle
        alone = replace(question, stream=False, cache_use=CacheUse.NONE)

        async def work() -> Answer:
            began = time.monotonic()
            record = RequestRecord(id=f"shadow-{uuid.uuid4().hex}", tenant=TENANT, is_probe=True)
            try:
                async with asyncio.timeout(self._left() / self.settings.at_once):
                    return await answering.answer(alone, record)
            finally:
                seconds = time.monotonic() - began
                self._spent += seconds
                self.seconds += seconds

        async with asyncio.timeout(_ROOM_SECONDS + answering.seconds_left(RequestRecord(id=""))):
            return await idle.run(alone.model, work)

    def _takes_schema(self, name: str) -> bool:
        model = None if self.capacity is None else self.capacity.answering.models.find(name)
        return model is not None and Feature.JSON_SCHEMA in model.info.features
