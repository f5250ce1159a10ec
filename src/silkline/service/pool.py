"""From a model's settings to a pool of engines: `prepare` does what needs no engine, once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import NamedTuple, Protocol

from silkline.config import EngineSettings, ModelSettings, RemoteSettings
from silkline.core import Delta, EngineInfo, LoraAdapter, Request
from silkline.engines.base import EngineOptions
from silkline.engines.registry import Choice, engine_spec, pick_engine
from silkline.engines.remote.key import read_key
from silkline.engines.remote.listing import ENGINE as REMOTE
from silkline.engines.threads import usable_cores
from silkline.engines.worker.shared import SharedWorker
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, InternalFault
from silkline.ingress.wanted import Wanted
from silkline.models.printable import printable
from silkline.models.resolve import locate_model
from silkline.routing.attempt import Attempt
from silkline.routing.health import PoolHealth
from silkline.routing.local import LocalReplica
from silkline.routing.pool import EnginePool
from silkline.routing.remote import AgreedModel, RemoteReplica
from silkline.routing.replica import Replica
from silkline.service.budget import NO_NEED, Need, Share, need_of
from silkline.service.model import ModelFiles, OnProgress, prepare_model
from silkline.service.ray.directory import NO_LOAD, Load
from silkline.service.ray.fleet import Fleet, FleetWorker
from silkline.stores.memory import Memory

_MAX_CHARACTERS = 2000
"""Of why `auto` took no better engine."""


CASCADE = "cascade"
"""The engine that a cascade names: it asks other models."""

OnNotice = Callable[[str], None]
"""Called with a line that the user should see, such as why `auto` passed over an engine."""


def ignore(_: str) -> None:
    """Does nothing with a notice."""


class Pool(Protocol):
    """What answers a model's requests: the replicas of an engine, or the models of a cascade.

    Its methods are those of `EnginePool`.
    """

    async def start(self) -> None:
        """Starts; returns when the first request can be answered."""

    @property
    def info(self) -> EngineInfo:
        """What it is. Raises `Overloaded` before it has started."""

    @property
    def ready(self) -> bool:
        """Whether it would answer now."""

    def capacity(self) -> int:
        """Maximum requests in flight; further ones wait."""

    def serve(self) -> None:
        """Gives free slots to waiting requests."""

    def health(self) -> PoolHealth:
        """A snapshot of its status; never waits."""

    def generate(
        self, request: Request, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Answers one request; `attempts` gets a record of each attempt."""

    async def aclose(self) -> None:
        """Ends all requests. Idempotent."""


def _no_load() -> Load:
    return NO_LOAD


class Prepared(NamedTuple):
    """A model that is ready to be loaded, any number of times.

    Attributes:
        wanted: Its settings.
        choice: Which engine computes on this machine, and why no better one.
        files: What the engine loads; None if it loads nothing.
        need: What it must have on this machine.
        adapter: The adapter that it is; None if it has weights of its own.
    """

    wanted: ModelSettings
    choice: Choice
    files: ModelFiles | None
    need: Need
    adapter: LoraAdapter | None = None

    def pool(
        self,
        share: Share = Share(),  # noqa: B008 - immutable
        adapters: Sequence[LoraAdapter] = (),
        load: Callable[[], Load] = _no_load,
    ) -> EnginePool:
        """Creates a pool of engines that has not started.

        Args:
            share: The share of this machine that each worker gets.
            adapters: The adapters of this model that are known now.
            load: What waits for the workers, for those on Ray.

        Raises:
            ConfigError: A remote's key is missing, or two remotes have the same name.
        """
        return pool_over(self.wanted, self.workers(share, adapters, load))

    def workers(
        self,
        share: Share = Share(),  # noqa: B008 - immutable
        adapters: Sequence[LoraAdapter] = (),
        load: Callable[[], Load] = _no_load,
    ) -> tuple[WorkerSupervisor | FleetWorker, ...]:
        """Creates the workers, which have not started; none for remotes only."""
        if self.choice.engine == REMOTE:
            return ()
        if self.wanted.on == "ray":
            return Fleet(self.wanted, load).workers
        return _workers(self, share, adapters)

    def release(self) -> None:
        """Lets the model's files be removed. Idempotent."""
        if self.files is not None and self.files.hold is not None:
            self.files.hold.release()


def pool_over(
    wanted: ModelSettings,
    workers: Sequence[WorkerSupervisor | SharedWorker],
    memory: Memory | None = None,
) -> EnginePool:
    """Creates a pool of workers and of a model's remotes, which has not started.

    Args:
        wanted: The model's settings.
        workers: The workers on this machine.
        memory: What gateway processes share, if there are several.

    Raises:
        ConfigError: A remote's key is missing, or two remotes have the same name.
    """
    limit = limit_of_worker(wanted.max_batch)
    local = [LocalReplica(str(index), worker, limit=limit) for index, worker in enumerate(workers)]
    return EnginePool([*local, *_remotes(wanted.remotes, local)], memory=memory)


async def prepare(wanted: ModelSettings, on_progress: OnProgress = ignore) -> Prepared:
    """Chooses a model's engine, and prepares its files; nothing is loaded.

    The model's files are read to their end to see that they are whole, which takes a while where
    they are large; a model that the engine needs in another form is exported first.

    Args:
        wanted: The model's settings.
        on_progress: Called with what is being done, in words, from another thread.

    Raises:
        ConfigError: The model is unknown, its files are damaged, no engine can serve it, or `trust`
            is `header` and an engine needs pixels. Or it is an adapter (`prepare_adapter`).
        EnvironmentFault: No engine is installed, or the model or what exports it is not here.
    """
    if wanted.base:
        raise ConfigError(f"The adapter {wanted.served_name} is served only beside its base.")
    if wanted.cascade:
        return Prepared(wanted, Choice(CASCADE), None, NO_NEED)
    on_ray = wanted.on == "ray" and needs_workers(wanted)
    choice = Choice(wanted.engine) if on_ray else await choose_engine(wanted)
    if wanted.trust == "header" and wanted_images(wanted) is not Wanted.UNDECODED_FILE:
        raise ConfigError(
            "The setting trust is header, which passes files on undecoded, but an engine on this "
            "machine or a remote with image_files = false needs pixels. Use trust = decoded, or "
            "only remotes that get files."
        )
    if on_ray:  # the rest is done where the workers run
        return Prepared(wanted, choice, None, NO_NEED)
    spec, files = engine_spec(choice.engine), None
    if spec.needs_model:
        files = await prepared_model(wanted, choice.engine, on_progress)
    folder = None if files is None else files.folder
    workers = 0 if choice.engine == REMOTE else wanted.workers
    try:
        need = await asyncio.to_thread(need_of, wanted, spec, folder, workers)
    except BaseException:
        if files is not None and files.hold is not None:
            files.hold.release()
        raise
    return Prepared(wanted, choice, files, need)


def needs_model(engine: str) -> bool:
    """Whether an engine computes with a model on this machine; `auto` chooses only such ones."""
    return engine == "auto" or engine_spec(engine).needs_model


def needs_workers(wanted: EngineSettings) -> bool:
    """Whether workers of its own compute the answers, not only remote servers."""
    return wanted.engine != REMOTE and not (wanted.engine == "auto" and wanted.remotes)


def aliases(wanted: ModelSettings) -> frozenset[str]:
    """The model's aliases; without a name in the settings, also the model as these call it.

    That is a folder's own name in any script, or a hub id; not where the engine does not serve the
    model of the settings.
    """
    if wanted.served_name or wanted.remotes or not needs_model(wanted.engine):
        return frozenset(wanted.aliases)
    return frozenset({*wanted.aliases, *as_typed(wanted.model)})


def as_typed(model: str) -> tuple[str, ...]:
    """The names that a user may have in mind for a model that was typed so."""
    typed = model.partition("@")[0]
    return tuple(dict.fromkeys((model, typed, PurePath(typed).name)))


def wanted_images(wanted: EngineSettings) -> Wanted:
    """In which form the engines of the settings take images; a cascade's may be any."""
    if isinstance(wanted, ModelSettings) and wanted.cascade:
        return Wanted.PIXELS
    takes_files = [remote.image_files for remote in wanted.remotes]
    if not any(takes_files):
        return Wanted.PIXELS
    if not all(takes_files) or wanted.engine not in {"auto", REMOTE}:
        return Wanted.PIXELS_AND_FILE
    return Wanted.UNDECODED_FILE if wanted.trust == "header" else Wanted.FILE


async def choose_engine(wanted: EngineSettings) -> Choice:
    """The engine that computes: the one that is named, or for `auto` the best that can.

    Raises:
        ConfigError: The model is unknown or damaged, no engine can serve it, or no server is named.
        EnvironmentFault: No engine is installed, or none that can, or the model is not here.
    """
    if wanted.engine == REMOTE and not wanted.remotes:
        raise ConfigError(
            "The engine remote has no server to ask. Name one: --remotes http://host:port."
        )
    if wanted.engine != "auto":
        return Choice(wanted.engine)
    if wanted.remotes:
        return Choice(REMOTE)
    return await asyncio.to_thread(lambda: pick_engine(locate_model(wanted.model, os.environ)))


def _remotes(remotes: Sequence[RemoteSettings], workers: Sequence[Replica]) -> list[Replica]:
    names = [remote.name for remote in remotes if remote.name]
    if len(names) > len(set(names)):
        raise ConfigError("Two remotes have the same name; give each its own.")
    agreed = AgreedModel(workers)
    return [
        RemoteReplica(f"remote-{index}", remote, read_key(remote, os.environ), agreed)
        for index, remote in enumerate(remotes)
    ]


def engine_options(
    prepared: Prepared,
    share: Share = Share(),  # noqa: B008 - immutable
    adapters: Sequence[LoraAdapter] = (),
) -> EngineOptions:
    """The options of the engine of each worker, with its share of the machine."""
    wanted, files = prepared.wanted, prepared.files
    threads = share.threads or threads_of_worker(wanted)
    return EngineOptions(
        model=None if files is None else files.folder,
        max_batch=wanted.max_batch,
        kv_cache_bytes=wanted.kv_cache_bytes,
        kv_cache_limit=share.kv_cache_limit,
        threads=threads if files is None else files.threads(threads),
        extra=wanted.engine_options if files is None else files.options(wanted),
        name=wanted.served_name if files is None else files.name,
        revision="" if files is None else files.revision,
        adapters=tuple(adapters),
    )


def _workers(
    prepared: Prepared, share: Share, adapters: Sequence[LoraAdapter]
) -> tuple[WorkerSupervisor, ...]:
    wanted, name = prepared.wanted, prepared.choice.engine
    options = engine_options(prepared, share, adapters)
    supervisor = partial(
        WorkerSupervisor,
        name,
        options,
        hang_timeout=wanted.hang_timeout,
        start_timeout=engine_spec(name).start_seconds(options),
    )
    return tuple(supervisor() for _ in range(wanted.workers))


def why_chosen(choice: Choice) -> str:
    """Why `auto` took no better engine, in one line; empty where it took the best."""
    return printable(choice.told(), _MAX_CHARACTERS)


async def prepared_model(
    wanted: EngineSettings, name: str, on_progress: OnProgress = ignore
) -> ModelFiles:
    """Prepares the model in a thread, which stops when this call is cancelled.

    Raises:
        SilklineError: What `prepare_model` raises.
    """
    given_up = threading.Event()

    def told(what: str) -> None:
        if given_up.is_set():  # or it would wait for another process's export to its end
            raise InternalFault("The preparation of the model was cancelled.")
        on_progress(what)

    try:
        return await asyncio.to_thread(prepare_model, wanted, name, os.environ, told)
    finally:
        given_up.set()


def threads_of_worker(wanted: EngineSettings) -> int:
    """Threads that each worker computes with; 0 lets its engine take all the cores.

    Several workers that each took all of them would wait for each other in every step.
    """
    if wanted.threads or wanted.workers == 1:
        return wanted.threads
    return max(1, usable_cores() // wanted.workers)


def limit_of_worker(max_batch: int) -> int:
    """Requests at a worker at a time: a batch, and a few so that it is full again at once.

    All others wait in the gateway: there they may still go elsewhere, and are not lost with it.
    """
    return max_batch + max(2, max_batch // 4)
