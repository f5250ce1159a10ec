"""Keeps a worker process alive: starts it, watches its progress, replaces it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.folder import SocketFolder
from silkline.engines.worker.process import WorkerProcess
from silkline.engines.worker.progress import Progress
from silkline.errors import SilklineError, WorkerLost

logger = logging.getLogger("silkline.worker")

MIN_HANG_INTERVALS = 3
"""A shorter hang timeout would take the time between two looks for a hang."""

TERM_GRACE_SECONDS = 5.0
"""What a worker gets to end after SIGTERM."""

FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 5.0
"""The pause before a worker that ended soon after its start is started again; it doubles."""

PROBE_SECONDS = 1.0
"""What a worker gets to answer how it gets on, before it is asked again."""

STABLE_SECONDS = 60.0
"""A worker that lived this long is started again without a pause."""


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    RESTARTING = "restarting"
    STOPPED = "stopped"


class WorkerSupervisor:
    """One worker process after the other, each serving the same engine.

    A worker is replaced when its process ends, and killed first when it makes no progress for
    `hang_timeout` seconds: either its engine says so, or it does not answer at all.
    """

    def __init__(
        self,
        engine: str,
        options: EngineOptions,
        *,
        hang_timeout: float = 30.0,
        start_timeout: float = 120.0,
        health_interval: float = 1.0,
    ) -> None:
        """Describes the worker; nothing runs before `start`.

        Args:
            engine: The engine's registered name.
            options: What the engine is built with.
            hang_timeout: Seconds without progress after which the worker is replaced; at least
                three of `health_interval`. It must be more than the longest step of the model,
                which is a full batch of prompts: a large model on a CPU may need 10 s and more.
            start_timeout: Seconds that a worker gets to load its model and serve.
            health_interval: Seconds between two looks at the worker's health.
        """
        self._name = engine
        self._options = options
        self._progress = Progress(max(hang_timeout, MIN_HANG_INTERVALS * health_interval))
        self._start_timeout = start_timeout
        self._health_interval = health_interval
        self._state = WorkerState.STOPPED
        self._changed = asyncio.Event()
        self._folder: SocketFolder | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: WorkerProcess | None = None
        self._engine: WorkerEngine | None = None
        self._info: EngineInfo | None = None
        self._marked_failed = False
        self._started_at = 0.0
        self._launches = 0
        self._short_lives = 0
        self.start_seconds = 0.0
        """How long the last worker took to serve."""
        self.restarts = 0
        """How often the worker was replaced."""

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether the worker serves: it answered lately, and what it computes goes on."""
        return self.engine is not None and self._progress.goes_on

    @property
    def engine(self) -> WorkerEngine | None:
        """The engine of the worker that serves now; None while there is none."""
        return None if self._marked_failed else self._engine

    @property
    def info(self) -> EngineInfo | None:
        """What the engine is; kept while the worker is replaced, None before the first start."""
        return self._info

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no process."""
        return None if self._process is None else self._process.pid

    @property
    def rss_bytes(self) -> int | None:
        """The worker's resident memory; None while there is no process."""
        return None if self._process is None else self._process.rss_bytes

    def health(self) -> Health | None:
        """The engine's last known health; None while no worker serves."""
        return None if self._engine is None else self._engine.health()

    def mark_failed(self, engine: Engine) -> None:
        """Takes the word of a user whose call was lost: this engine's worker is to be replaced."""
        if engine is self._engine:
            self._marked_failed = True

    def changed(self) -> Coroutine[None, None, object]:
        """Something to wait for: it ends with the next change of state, or look at the health.

        What changes between the call and the waiting counts.
        """
        return self._changed.wait()

    async def start(self) -> None:
        """Starts the worker and returns when it serves.

        Raises:
            EnvironmentFault: The worker lacks something on this machine.
            ConfigError: The engine or one of its options is wrong.
            WorkerLost: It ended without a word, or took too long.
        """
        self._folder = SocketFolder.make()
        self._set(WorkerState.STARTING)
        try:
            await self._launch()
        except BaseException:
            await self.aclose()
            raise
        self._task = asyncio.create_task(self._supervise())

    async def aclose(self) -> None:
        """Ends the worker: SIGTERM, and SIGKILL when that is not enough."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._set(WorkerState.STOPPED)
        try:
            await self._retire(TERM_GRACE_SECONDS)
        finally:
            folder, self._folder = self._folder, None
            if folder is not None:
                await asyncio.to_thread(folder.remove)

    async def _supervise(self) -> None:
        """Replaces workers until it is cancelled; no defect may end it, only the worker."""
        while True:
            try:
                await self._watch()
            except Exception:
                logger.exception("the worker cannot be watched and is replaced")
            self._set(WorkerState.RESTARTING)
            await self._relaunch()

    async def _watch(self) -> None:
        """Returns when the worker has to be replaced."""
        process, engine = self._process, self._engine
        if process is None or engine is None:
            return
        while not await process.ended_within(self._health_interval):
            with suppress(WorkerLost):
                health = await engine.probe(PROBE_SECONDS)
                self._progress.answered(health.seconds_since_progress)
            self._notify()
            if process.ended:
                break
            if self._marked_failed:
                logger.error("worker %d lost a call, but still runs", process.pid)
                return
            if self._progress.is_stuck:
                stalled = self._progress.stalled_seconds
                logger.error("worker %d made no progress for %.1f s", process.pid, stalled)
                return
        logger.error("worker %d %s", process.pid, process.ending)

    async def _relaunch(self) -> None:
        """Starts workers until one serves."""
        while True:
            try:
                await self._retire(grace_seconds=0.0)
            except Exception:
                logger.exception("the worker's end left something behind")
            await self._pause()
            self.restarts += 1
            try:
                await self._launch()
            except SilklineError as error:
                logger.error("the worker cannot be replaced yet: %s", error.message)  # noqa: TRY400
            except Exception:
                logger.exception("the worker cannot be replaced yet")
            else:
                return

    async def _pause(self) -> None:
        """Waits the longer, the more workers ended soon after their start."""
        lived = time.monotonic() - self._started_at
        self._short_lives = 0 if lived > STABLE_SECONDS else self._short_lives + 1
        if self._short_lives > 1:
            pause = FIRST_BACKOFF_SECONDS * 2 ** min(self._short_lives - 2, 16)
            await asyncio.sleep(min(pause, LAST_BACKOFF_SECONDS))

    async def _launch(self) -> None:
        if self._folder is None:
            raise WorkerLost("The worker's supervisor has not started.")
        self._launches += 1
        self._started_at = time.monotonic()
        socket = self._folder.path / f"worker-{self._launches}"
        self._process = await WorkerProcess.spawn(self._name, self._options, socket)
        await self._process.started(self._start_timeout)
        engine = WorkerEngine(socket)
        await engine.start()
        self._progress.restarted()
        self.start_seconds = time.monotonic() - self._started_at
        self._engine = engine
        self._info = engine.info
        self._set(WorkerState.SERVING)
        logger.info("worker %d serves after %.2f s", self._process.pid, self.start_seconds)

    async def _retire(self, grace_seconds: float) -> None:
        """Ends what is left of a worker; the process first, so that its calls end as lost."""
        engine, self._engine = self._engine, None
        self._marked_failed = False
        process = self._process
        if process is not None:
            await process.end(grace_seconds)
        self._process = None
        if engine is not None:
            await engine.aclose()

    def _set(self, state: WorkerState) -> None:
        self._state = state
        self._notify()

    def _notify(self) -> None:
        """Wakes those who wait in `changed`."""
        self._changed.set()
        self._changed = asyncio.Event()
