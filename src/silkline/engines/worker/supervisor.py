"""Supervises a worker process: starts it, monitors its progress, replaces it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.folder import SocketFolder
from silkline.engines.worker.process import WorkerProcess
from silkline.engines.worker.progress import Progress
from silkline.engines.worker.status import WorkerState, WorkerStatus
from silkline.errors import SilklineError, WorkerLost

logger = logging.getLogger("silkline.worker")

MIN_HANG_INTERVALS = 3
"""Minimum hang timeout in health intervals; below that, an interval could look like a hang."""

TERM_GRACE_SECONDS = 5.0
"""Seconds from SIGTERM to SIGKILL."""

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
"""Pause before restarting a worker that ended soon after its start; doubles up to the maximum."""

PROBE_SECONDS = 1.0
"""Maximum seconds for the answer to a probe."""

STABLE_SECONDS = 60.0
"""A worker that ran this long is restarted without a pause."""


class WorkerSupervisor:
    """Keeps one worker process of an engine running, and replaces it when it fails.

    A worker is replaced when its process ends. It is killed and replaced when it makes no progress
    for `hang_timeout` seconds: either its engine reports none, or the worker does not answer.
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
        """Takes the worker's settings; nothing runs before `start`.

        Args:
            engine: The engine's registered name.
            options: The engine's options.
            hang_timeout: Seconds without progress after which the worker is replaced; raised to
                three times `health_interval` if less. It must exceed the longest step of the
                model, which is a full batch of prompts: a large model on a CPU may need 10 s and
                more.
            start_timeout: Maximum seconds for a worker to load its model and be ready.
            health_interval: Seconds between two probes of the worker's health.
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
        self._failed = False
        self._started_at = 0.0
        self._launches = 0
        self._short_lives = 0
        self.start_seconds = 0.0
        """Seconds from the last worker's start until it was ready."""
        self.restarts = 0
        """Number of times that the worker was replaced."""

    @property
    def state(self) -> WorkerState:
        """The worker's state."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether the worker serves and its engine makes progress."""
        return self.engine is not None and self._progress.is_progressing

    @property
    def engine(self) -> WorkerEngine | None:
        """The engine of the current worker; None while no worker serves."""
        return None if self._failed else self._engine

    @property
    def info(self) -> EngineInfo | None:
        """The engine's info; kept while the worker is replaced, None before the first start."""
        return self._info

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no process."""
        return None if self._process is None else self._process.pid

    @property
    def rss_bytes(self) -> int | None:
        """The worker's resident memory in bytes; None while there is no process."""
        return None if self._process is None else self._process.rss_bytes

    @property
    def socket(self) -> str:
        """The path of the current worker's socket; empty while no worker serves."""
        return "" if self._engine is None else str(self._engine.socket)

    def health(self) -> Health | None:
        """The engine's last known health; None while no worker serves."""
        return None if self._engine is None else self._engine.health()

    def status(self) -> WorkerStatus:
        """A snapshot of the worker's status; never waits."""
        return WorkerStatus(
            state=self._state,
            socket=self.socket,
            ready=self.ready,
            pid=self.pid,
            rss_bytes=self.rss_bytes,
            restarts=self.restarts,
            start_seconds=self.start_seconds,
            health=self.health(),
        )

    def lost_at(self, socket: str) -> None:
        """Reports that the worker at this socket lost a request of another process."""
        if self._engine is not None and self.socket == socket:
            self.mark_failed(self._engine)

    def mark_failed(self, engine: Engine) -> None:
        """Reports that this engine lost a request: its worker will be replaced."""
        if engine is self._engine:
            self._failed = True

    def changed(self) -> Coroutine[None, None, object]:
        """An awaitable that ends with the next change of state or probe of the health.

        Changes between this call and the await count.
        """
        return self._changed.wait()

    async def start(self) -> None:
        """Starts the worker and returns when it is ready.

        Raises:
            EnvironmentFault: The worker lacks something on this machine.
            ConfigError: The engine or one of its options is wrong.
            WorkerLost: The worker ended without a report, or took too long.
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
        """Ends the worker: SIGTERM, then SIGKILL after `TERM_GRACE_SECONDS`."""
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
        """Replaces workers until it is cancelled; an unexpected error ends the worker only."""
        while True:
            try:
                await self._monitor()
            except Exception:
                logger.exception("the worker cannot be monitored and is replaced")
            self._set(WorkerState.RESTARTING)
            await self._relaunch()

    async def _monitor(self) -> None:
        """Probes the worker; returns when it must be replaced."""
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
            if self._failed:
                logger.error("worker %d lost a request but still runs; it is replaced", process.pid)
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
                logger.exception("the worker could not be cleaned up")
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
        """Waits before a restart; longer after each worker that ended soon after its start."""
        lifetime = time.monotonic() - self._started_at
        self._short_lives = 0 if lifetime > STABLE_SECONDS else self._short_lives + 1
        if self._short_lives > 1:
            pause = FIRST_BACKOFF_SECONDS * 2 ** min(self._short_lives - 2, 16)
            await asyncio.sleep(min(pause, MAX_BACKOFF_SECONDS))

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
        """Ends a worker: the process first, so that its calls end with `WorkerLost`."""
        engine, self._engine = self._engine, None
        self._failed = False
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
        """Wakes all waiters of `changed`."""
        self._changed.set()
        self._changed = asyncio.Event()
