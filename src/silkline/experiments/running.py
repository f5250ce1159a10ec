"""All experiments of a server: they choose the model of a request, and see how it ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict

from silkline.aio.background import in_background
from silkline.config import Settings
from silkline.config.experiments import ExperimentSettings, check_experiments
from silkline.errors import ConfigError, InvalidRequest, ModelConflict, Overloaded
from silkline.experiments.assignment import Arm, position, takes_part
from silkline.experiments.change import changed
from silkline.experiments.experiment import Experiment
from silkline.experiments.journal import EVIDENCE, Journal, Rewarded, Serving
from silkline.experiments.shadow import Capacity
from silkline.experiments.tally import Observation
from silkline.experiments.webhooks import Webhooks
from silkline.ingress.source import Source, UrlSource
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.answering import Answering
from silkline.service.idle import Idle
from silkline.service.lifecycle import Lifecycle
from silkline.service.models import ServedModels
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from silkline.service.served_model import ServedModel

_SETTLE_SECONDS = 0.5
_HOLDOUT = "holdout"
_IDLE_SHARE = 0.5
"""Shadows run while less than this share of the slots of every model is in use."""

_START_SECONDS = 600.0
"""A model that has not started by then is to blame for the requests that fail."""

_IMAGE_SIZE = 1_000
"""How many characters an image counts as, in what explains a request's duration."""


class Experiments:
    """The experiments of the settings, and those that the admin API adds while the server runs."""

    def __init__(self, settings: Settings, models: ServedModels) -> None:
        """Takes the settings and the table of models; `running` starts the experiments."""
        self._models = models
        self._journal = Journal(settings.experimenting.experiment_file)
        self._webhooks = Webhooks(settings.experimenting, os.environ)
        self._experiments = {
            name: Experiment(name, declared, self._journal)
            for name, declared in settings.experiments.items()
        }
        self._capacity: Capacity | None = None
        self._of_settings = frozenset(self._experiments)
        self._holdout = settings.experimenting.holdout
        self._of_model: dict[str, list[Experiment]] = {}
        for one in self._experiments.values():
            self._of_model.setdefault(one.settings.model, []).append(one)
        self._changing = asyncio.Lock()
        self._began = time.monotonic()
        self._have_started: set[str] = set()

    def __iter__(self) -> Iterator[Experiment]:
        return iter(tuple(self._experiments.values()))

    def computes_with(self, answering: Answering, lifecycle: Lifecycle) -> None:
        """Sets what shadows compute with; `running` starts them."""
        idle = Idle(self._models, _IDLE_SHARE, lambda: lifecycle.leaving, everywhere=True)
        self._capacity = Capacity(answering, idle)

    def get(self, name: str) -> Experiment | None:
        """Returns an experiment by its name; None if there is none."""
        return self._experiments.get(name)

    async def add(self, name: str, settings: ExperimentSettings) -> Experiment:
        """Starts an experiment, which lasts until it is removed or the server stops; idempotent.

        If its journal is in a file, an experiment that is added again goes on as it was.

        Raises:
            ModelConflict: Another experiment has this name.
            InvalidRequest: A model is not served, or takes part in another experiment; or there is
                no such scorer.
            EnvironmentFault: A scorer's package is broken.
            Overloaded: The journal fails.
        """
        async with self._changing:
            known = self._experiments.get(name)
            if known is not None and known.settings == settings:
                return known
            if known is not None:
                raise ModelConflict(
                    f"There is an experiment {name} already. Remove it, or use another name.",
                    param="name",
                )
            declared = {one.name: one.settings for one in self} | {name: settings}
            try:
                check_experiments(declared, {model.name for model in self._models})
                experiment = Experiment(name, settings, self._journal)
            except (ValueError, ConfigError) as error:
                raise InvalidRequest(f"The experiment is wrong: {error}.") from None
            await self._start(experiment)
            self._experiments[name] = experiment
            self._of_model.setdefault(settings.model, []).append(experiment)
            return experiment

    async def remove(self, experiment: Experiment) -> None:
        """Ends an experiment that was added; its model answers then, and its journal stays.

        Raises:
            ModelConflict: It is one of the settings.
            Overloaded: The journal fails.
        """
        async with self._changing:
            if experiment.name in self._of_settings:
                raise ModelConflict(
                    f"The experiment {experiment.name} is in the settings. Remove its table and "
                    "start the server again."
                )
            await experiment.settle()
            if self._experiments.pop(experiment.name, None) is not None:
                await experiment.shadow.aclose()
                self._of_model[experiment.settings.model].remove(experiment)

    def choose(self, question: Question, record: RequestRecord) -> tuple[ServedModel, Question]:
        """Returns the model that answers a question, and the question as it gets it.

        It notes the request's arm in the record.

        Raises:
            ModelNotFound, Overloaded: As `ServedModels.choose` does.
        """
        model = self._models.choose(question.model)
        of_model = self._of_model.get(model.name) if self._of_model else None
        if not of_model or record.is_probe or self._is_held_out(record):
            return model, question
        experiment, arm = self._assigned(of_model, question, record)
        if experiment is None:
            return model, question
        if arm is not Arm.OUTSIDE:
            record.experiment, record.arm = experiment.name, arm.value
            record.size = question.characters + _IMAGE_SIZE * len(question.sources)
        if experiment.serving is Serving.SPLIT:
            self._note_shadow(experiment, question, record)
        if arm is Arm.CANDIDATE or experiment.serving is Serving.CANDIDATE:
            candidate = self._models.find(experiment.settings.candidate)
            if candidate is not None:
                return candidate, changed(question, experiment.settings.changes)
        return model, question

    def _is_held_out(self, record: RequestRecord) -> bool:
        return self._holdout > 0 and position(_HOLDOUT, _user(record)) < self._holdout

    def _assigned(
        self, of_model: Sequence[Experiment], question: Question, record: RequestRecord
    ) -> tuple[Experiment | None, Arm]:
        """The experiment of a request and its arm; else one that serves without asking for it.

        At most one experiment has the request in an arm, since their traffic is separate.
        """
        serving: Experiment | None = None
        for one in of_model:
            if not one.decisions:
                continue
            unit = _unit(one.settings, question, record)
            arm = one.assign(unit)
            if arm is not Arm.OUTSIDE:
                return one, arm
            is_part = serving is None and takes_part(one.name, unit, one.settings)
            if one.serving is Serving.CANDIDATE or is_part:
                serving = one
        return serving, Arm.OUTSIDE

    def _note_shadow(
        self, experiment: Experiment, question: Question, record: RequestRecord
    ) -> None:
        """Keeps a question and its answer, if the other model shall answer it too."""
        if question.choices == 1 and experiment.shadow.wants(record.id):
            record.details.keeps_answers()
            record.shadow, record.shadowed = experiment.name, question

    def ended(self, record: RequestRecord, seconds: float) -> None:
        """Takes how a request ended; one that is in no arm is ignored.

        So is a failure before both models have started: after a restart of the server, requests of
        both arms fail until then, which tells nothing about the models.

        Args:
            record: The request; the client is not why it failed, if it did.
            seconds: Its duration.
        """
        if (shadowed := self._experiments.get(record.shadow)) is not None:
            shadowed.shadow.take(record, by_candidate=record.arm == Arm.CANDIDATE.value)
        experiment = self._experiments.get(record.experiment)
        if experiment is None or (record.failed and not self._has_started(experiment)):
            return
        experiment.observe(
            Observation(
                record.id,
                record.tenant.name,
                Arm(record.arm),
                record.cache,
                record.failed,
                seconds,
                record.size,
                time.time(),
            )
        )

    def _has_started(self, experiment: Experiment) -> bool:
        """Whether both models of an experiment were ready once, or had the time for it."""
        for name in (experiment.settings.model, experiment.settings.candidate):
            model = self._models.find(name)
            if name not in self._have_started and model is not None and model.ready:
                self._have_started.add(name)
            if name not in self._have_started:
                return time.monotonic() - self._began > _START_SECONDS
        return True

    async def feedback(self, request: str, tenant: str, reward: float) -> Rewarded | None:
        """Takes the reward of a request.

        Args:
            request: The request's id.
            tenant: The name of the tenant that sends it; only its own requests are found.
            reward: From 0 to 1.

        Returns:
            What it belongs to; None if the tenant has no such request in an experiment.

        Raises:
            Overloaded: The journal fails.
        """
        for experiment in self:
            if experiment.awaits(request, tenant):
                await experiment.flush()
        found = await self._journal.reward(request, tenant, reward, time.time())
        if found is not None and found.is_first:
            rewarded = self.get(found.experiment)
            if rewarded is not None:
                await rewarded.flush()
        return found

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Continues the experiments from the journal, and decides while the block runs."""
        for experiment in self:
            await self._start(experiment)
        try:
            async with AsyncExitStack() as stack:
                if self._capacity is not None:
                    await stack.enter_async_context(self._capacity.idle.watching())
                await stack.enter_async_context(self._webhooks.running(self._journal))
                await stack.enter_async_context(in_background(self._settle(), "experiments"))
                yield
        finally:
            for experiment in self:
                await experiment.shadow.aclose()
            await self._settle_all()
            await self._journal.aclose()

    def readings(self) -> Iterator[Reading]:
        """Metrics of the experiments."""
        for one in self:
            if one.decisions:
                yield from _readings(one)
            yield from one.shadow.readings(one.tally)

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(_SETTLE_SECONDS)
            await self._settle_all()

    async def _settle_all(self) -> None:
        for experiment in self:
            with suppress(Overloaded):  # logged by the store; the next round tries again
                await experiment.settle()

    async def _start(self, experiment: Experiment) -> None:
        experiment.shadow.capacity = self._capacity
        await experiment.start()


def _readings(one: Experiment) -> Iterator[Reading]:
    yield catalogue.EXPERIMENT_SHARE, (one.name,), one.share
    yield catalogue.EXPERIMENT_LOST, (one.name,), one.lost
    yield catalogue.EXPERIMENT_MISMATCH, (one.name,), float(one.verdict.is_mismatch)
    verdicts = Counter(each.serving for each in one.decisions if each.by == EVIDENCE)
    for serving in Serving:
        labels = (one.name, serving.value)
        yield catalogue.EXPERIMENT_SERVING, labels, float(one.serving is serving)
        yield catalogue.EXPERIMENT_VERDICTS, labels, verdicts[serving]
    for arm in (Arm.CONTROL, Arm.CANDIDATE):
        labels = (one.name, arm.value)
        yield catalogue.EXPERIMENT_REQUESTS, labels, one.tally.requests(arm)
        yield catalogue.EXPERIMENT_FAILURES, labels, one.tally.failures(arm)
        yield catalogue.EXPERIMENT_REWARDS, labels, one.tally.rewards(arm).count
    for metric, interval in one.course.now().items():
        for bound, value in asdict(interval).items():
            yield catalogue.EXPERIMENT_INTERVAL, (one.name, metric, bound), value


def _unit(settings: ExperimentSettings, question: Question, record: RequestRecord) -> bytes:
    """What is assigned: the unit, within its tenant."""
    tenant = record.tenant.salt
    if settings.unit == "request":
        return record.id.encode()
    if settings.unit == "image" and question.sources:
        return tenant + b"image" + _named(question.sources[0])
    return _user(record) if settings.unit == "user" else tenant + b"tenant"


def _user(record: RequestRecord) -> bytes:
    """The user, within its tenant; the tenant if none is named."""
    tenant = record.tenant.salt
    return tenant + b"user" + record.user.encode() if record.user else tenant + b"tenant"


def _named(source: Source) -> bytes:
    """What identifies an image before it is loaded: its URL, or the digest of what was sent."""
    return str(source.url.url).encode() if isinstance(source, UrlSource) else source.digest
