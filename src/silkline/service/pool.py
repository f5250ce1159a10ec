"""What `up` and `describe` share: from settings to a pool of engines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

from silkline.config import EngineSettings, RemoteSettings, Settings
from silkline.engines.base import EngineOptions
from silkline.engines.registry import Choice, engine_spec, pick_engine
from silkline.engines.remote.key import read_key
from silkline.engines.remote.listing import ENGINE as REMOTE
from silkline.engines.threads import usable_cores
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, InternalFault
from silkline.ingress.wanted import Wanted
from silkline.models.printable import printable
from silkline.models.resolve import locate_model
from silkline.models.store import Hold
from silkline.routing.local import LocalReplica
from silkline.routing.pool import EnginePool
from silkline.routing.remote import AgreedModel, RemoteReplica
from silkline.routing.replica import Replica
from silkline.service.model import ModelFiles, OnProgress, prepare_model

_MAX_CHARACTERS = 2000
"""Of why `auto` took no better engine."""


OnNotice = Callable[[str], None]
"""Called with a line that the user should see, such as why `auto` passed over an engine."""


def ignore(_: str) -> None:
    """Does nothing with a notice."""


class Served(NamedTuple):
    """What serves, and what it took to.

    Attributes:
        pool: The engines.
        choice: Which engine computes on this machine, and why no better one.
        hold: Keeps the model's files from being removed while workers may start again.
    """

    pool: EnginePool
    choice: Choice
    hold: Hold | None

    async def aclose(self) -> None:
        """Closes the pool and releases the model's files. Idempotent."""
        try:
            await self.pool.aclose()
        finally:
            if self.hold is not None:
                self.hold.release()


async def create_pool(settings: Settings, on_progress: OnProgress = ignore) -> Served:
    """The pool that the settings describe; nothing has started yet.

    The model's files are read to their end to see that they are whole, which takes a while where
    they are large; a model that the engine needs in another form is exported first.

    Args:
        settings: What is wanted.
        on_progress: Called with what is being done, in words, from another thread.

    Raises:
        ConfigError: The model is unknown, its files are damaged, no engine can serve it, or a
            remote's key is missing.
        EnvironmentFault: No engine is installed, or the model or what exports it is not here.
    """
    wanted = settings.engine
    choice = await choose_engine(wanted)
    if wanted.trust == "header" and wanted_images(wanted) is not Wanted.UNDECODED_FILE:
        raise ConfigError(
            "The setting trust is header, which passes files on undecoded, but an engine on this "
            "machine or a remote with image_files = false needs pixels. Use trust = decoded, or "
            "only remotes that get files."
        )
    if wanted.served_name and choice.engine == REMOTE:
        raise ConfigError(
            "The setting served_name names a model that is computed on this machine, and the "
            "engine remote has the name of its server's model. Leave the setting out."
        )
    files = None
    if engine_spec(choice.engine).needs_model:
        files = await prepared_model(wanted, choice.engine, on_progress)
    hold = None if files is None else files.hold
    try:
        workers = _workers(wanted, choice.engine, files)
        pool = EnginePool([*workers, *_remotes(wanted.remotes, workers)])
    except BaseException:
        if hold is not None:
            hold.release()
        raise
    return Served(pool, choice, hold)


def needs_model(engine: str) -> bool:
    """Whether an engine computes with a model on this machine; `auto` chooses only such ones."""
    return engine == "auto" or engine_spec(engine).needs_model


def aliases(wanted: EngineSettings) -> frozenset[str]:
    """The model as the settings name it: a folder's own name in any script, or a hub id.

    None where a name was set, or where the engine does not serve the model of the settings.
    """
    if wanted.served_name or wanted.remotes or not needs_model(wanted.engine):
        return frozenset()
    typed = wanted.model.partition("@")[0]
    return frozenset({wanted.model, typed, PurePath(typed).name})


def wanted_images(wanted: EngineSettings) -> Wanted:
    """In which form the engines of the settings take images."""
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


def _workers(wanted: EngineSettings, name: str, files: ModelFiles | None) -> list[Replica]:
    """The replicas on this machine: none where the remotes are all that is wanted."""
    if name == REMOTE:
        return []
    options = EngineOptions(
        model=None if files is None else files.folder,
        max_batch=wanted.max_batch,
        kv_cache_bytes=wanted.kv_cache_bytes,
        threads=threads_of_worker(wanted),
        extra=wanted.engine_options,
        name=wanted.served_name if files is None else files.name,
        revision="" if files is None else files.revision,
    )
    supervisor = partial(
        WorkerSupervisor,
        name,
        options,
        hang_timeout=wanted.hang_timeout,
        start_timeout=engine_spec(name).start_seconds(options),
    )
    return [
        LocalReplica(
            str(index),
            supervisor(),
            limit=limit_of_worker(wanted.max_batch),
        )
        for index in range(wanted.workers)
    ]


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
