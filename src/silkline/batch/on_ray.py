"""Asks the questions of a batch on a Ray cluster: each of its actors fetches, decodes and asks.

An actor runs what `silkline batch` runs on one machine: decoding processes, and a supervised worker
with the engine. Images go to an actor as their encoded bytes, or as URLs that it fetches; what
comes back is the result as the journal keeps it. The journal stays in this process. A question
whose actor ended has a result that may pass, so it is asked again, elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from silkline.batch.answer import failed
from silkline.batch.asking import LocalAsker, at_once_of, open_asker
from silkline.batch.inputs import Asked
from silkline.batch.item import Result
from silkline.config import Settings, with_models
from silkline.engines.worker.start_errors import START_ERRORS, FaultKind, kind_of
from silkline.errors import SilklineError, WorkerLost
from silkline.ingress.source import Source, UploadSource, UrlSource, parse_url, uploaded
from silkline.service.pool import ignore
from silkline.service.ray import cluster
from silkline.service.subject import SubjectSpec

if TYPE_CHECKING:
    from ray.actor import ActorHandle

logger = logging.getLogger("silkline.ray")

_PARAM = "image"
_PAUSE_SECONDS = 1.0
"""Time between two tries to reach an actor that was lost."""

_CLOSE_SECONDS = 10.0


class AskerActor:
    """An actor that asks; Ray starts it again on another node when its own one ends."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Takes a `SubjectSpec` whose settings are JSON; `start` loads the model."""
        settings = Settings.model_validate_json(spec.pop("settings"))
        self._spec = SubjectSpec(settings=settings, **spec)
        self._stack = AsyncExitStack()
        self._asker: LocalAsker | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> tuple[FaultKind, str] | None:
        """Loads the model, once; returns the kind and the message of the error, if there is one."""
        try:
            await self._started()
        except SilklineError as error:
            return kind_of(error), error.message
        return None

    async def ask(self, data: bytes | str, prompt: str) -> tuple[bytes, str, bool]:
        """Asks about an image, given as bytes or a URL; returns the fields of the result."""
        source = uploaded(data, param=_PARAM) if isinstance(data, bytes) else _fetched(data)
        result = await (await self._started()).ask(Asked(source, prompt))
        return result.content, result.error, result.transient

    async def close(self) -> None:
        """Ends the worker and the decoding processes."""
        await self._stack.aclose()

    async def _started(self) -> LocalAsker:
        async with self._starting:
            if self._asker is None:
                self._asker = await self._stack.enter_async_context(open_asker(self._spec, ignore))
            return self._asker


def _fetched(url: str) -> Source:
    return parse_url(url, param=_PARAM)


@dataclass(slots=True, eq=False)
class _Actor:
    """An actor as this process uses it.

    Attributes:
        handle: Calls it.
        asking: Questions that it works on.
        ready: Whether it has loaded the model.
    """

    handle: ActorHandle[AskerActor]
    asking: int = 0
    ready: bool = False


class RayAskers:
    """Gives each question to the actor with the fewest."""

    def __init__(self, spec: SubjectSpec) -> None:
        """Takes the subject; `open_askers_on_ray` starts its actors."""
        self._spec = spec
        self._actors: list[_Actor] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Condition()
        self._fault: SilklineError | None = None
        self._per_actor = at_once_of(_alone(spec))
        self.at_once = self._per_actor * spec.settings.engine.workers

    async def start(self) -> None:
        """Starts the actors; returns when the first one has loaded the model.

        Raises:
            SilklineError: It could not.
        """
        engine = self._spec.settings.engine
        await cluster.connect(engine.ray_address)
        for _ in range(engine.workers):
            handle = await asyncio.to_thread(_create, self._spec, self._per_actor)
            actor = _Actor(handle)
            self._actors.append(actor)
            self._begin_loading(actor)
        async with self._free:
            await self._free.wait_for(lambda: self._fault or self._ready())
        if self._fault is not None:
            raise self._fault

    async def aclose(self) -> None:
        """Ends the actors."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*map(_close, self._actors))

    async def ask(self, asked: Asked) -> Result:
        """Asks about an image; an actor that ends meanwhile makes a result that may pass."""
        try:
            data = await asyncio.to_thread(_plain, asked.source)
        except SilklineError as error:
            return failed(error)
        async with self._free:
            await self._free.wait_for(self._ready)
            actor = min(self._ready(), key=lambda each: each.asking)
            actor.asking += 1
        try:
            return Result(*await actor.handle.ask.remote(data, asked.prompt))
        except Exception:
            logger.warning("an actor of the batch was lost", exc_info=True)
            if actor.ready:
                actor.ready = False
                self._begin_loading(actor)
            return failed(WorkerLost("The actor ended while it worked on this item; try again."))
        finally:
            actor.asking -= 1

    def _ready(self) -> list[_Actor]:
        return [actor for actor in self._actors if actor.ready]

    def _begin_loading(self, actor: _Actor) -> None:
        task = asyncio.create_task(self._load(actor), name="batch actor")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, actor: _Actor) -> None:
        """Has an actor load the model, until it has; Ray starts it again where it ended."""
        while True:
            try:
                fault = await actor.handle.start.remote()
            except Exception:
                logger.warning("an actor of the batch cannot be reached", exc_info=True)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            async with self._free:
                if fault is None:
                    actor.ready = True
                else:
                    self._fault = START_ERRORS[fault[0]](fault[1])
                self._free.notify_all()
            return


def _create(spec: SubjectSpec, at_once: int) -> ActorHandle[AskerActor]:
    import ray  # noqa: PLC0415 - an extra

    return (
        ray.remote(AskerActor)
        .options(
            **cluster.resources(spec.settings.engine),
            max_concurrency=at_once + 2,
            max_restarts=-1,
            scheduling_strategy="SPREAD",
        )
        .remote(plain(spec))
    )


def plain(spec: SubjectSpec) -> dict[str, str | int]:
    """What an actor gets of a subject, in plain types."""
    alone = _alone(spec)
    return {
        "name": alone.name,
        "settings": alone.settings.model_dump_json(exclude_unset=True),
        "max_tokens": alone.max_tokens,
        "max_pixels": alone.max_pixels,
    }


async def _close(actor: _Actor) -> None:
    with suppress(Exception):  # it has ended, or hangs
        async with asyncio.timeout(_CLOSE_SECONDS):
            if actor.ready:
                await actor.handle.close.remote()
    await asyncio.to_thread(cluster.kill, actor.handle)


def _alone(spec: SubjectSpec) -> SubjectSpec:
    """The subject as one actor asks it."""
    engine = cluster.one_worker(spec.settings.engine)
    return replace(spec, settings=with_models(spec.settings, engine, {}))


def _plain(source: Source) -> bytes | str:
    """An image as plain bytes, or its URL. Raises `InvalidRequest` if it is malformed Base64."""
    if isinstance(source, UrlSource):
        return str(source.url.url)
    if isinstance(source, UploadSource):
        return source.data
    return source.decode().data


@asynccontextmanager
async def open_askers_on_ray(spec: SubjectSpec) -> AsyncGenerator[RayAskers, None]:
    """Starts as many actors as the settings have workers.

    Raises:
        EnvironmentFault: Ray is not installed, there is no cluster, or the actors lack something.
        ConfigError: The model or one of its settings is wrong.
    """
    askers = RayAskers(spec)
    try:
        await askers.start()
        yield askers
    finally:
        await askers.aclose()
