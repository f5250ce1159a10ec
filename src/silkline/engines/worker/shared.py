"""A worker that another process supervises, and that several gateway processes use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine
from silkline.engines.worker.address import parse_address
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.status import WorkerState, WorkerStatus
from silkline.errors import SilklineError


class SharedWorker:
    """A worker whose supervisor is in another process, which publishes its status.

    This process has a connection of its own to the worker: its requests end with the connection,
    and those of other processes do not. A worker that loses a request of any process is replaced.
    """

    def __init__(self, report_lost: Callable[[str], None]) -> None:
        """Takes a function that tells the supervisor that the worker at a socket lost a request."""
        self._report_lost = report_lost
        self._status = WorkerStatus()
        self._engine: WorkerEngine | None = None
        self._info: EngineInfo | None = None
        self._failed = False
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    @property
    def state(self) -> WorkerState:
        """The worker's state, as this process can use it."""
        if self._status.state is WorkerState.SERVING and self._engine is None:
            return WorkerState.STARTING if self._info is None else WorkerState.RESTARTING
        return self._status.state

    @property
    def ready(self) -> bool:
        """Whether the worker serves and its engine makes progress."""
        return self.engine is not None and self._status.ready

    @property
    def engine(self) -> Engine | None:
        """This process's connection to the current worker; None while there is none."""
        return None if self._failed else self._engine

    @property
    def info(self) -> EngineInfo | None:
        """The engine's info; kept while the worker is replaced, None before it first served."""
        return self._info

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no process."""
        return self._status.pid

    @property
    def rss_bytes(self) -> int | None:
        """The worker's resident memory in bytes; None while there is no process."""
        return self._status.rss_bytes

    @property
    def restarts(self) -> int:
        """How often the worker was replaced."""
        return self._status.restarts

    @property
    def start_seconds(self) -> float:
        """How long the worker's last start took, in seconds."""
        return self._status.start_seconds

    @property
    def socket(self) -> str:
        """The address of the current worker; empty while there is no connection."""
        return "" if self._engine is None else str(self._engine.socket)

    def health(self) -> Health | None:
        """The engine's health, as the supervisor last published it."""
        return self._status.health

    def update(self, status: WorkerStatus) -> None:
        """Takes the status that the supervisor published."""
        self._status = status
        self._notify()

    def mark_failed(self, engine: Engine) -> None:
        """Reports that this engine lost a request: its worker will be replaced."""
        if engine is self._engine and not self._failed:
            self._failed = True
            self._report_lost(str(self._engine.socket))

    def changed(self) -> Coroutine[None, None, object]:
        """An awaitable that ends with the next status; those before the await count."""
        return self._changed.wait()

    async def start(self) -> None:
        """Connects to the worker, and returns when it serves; the supervisor may take long."""
        self.follow()
        while self._info is None:
            await self.changed()

    def follow(self) -> None:
        """Connects to the worker whenever its status says that it serves; returns at once."""
        self._following = asyncio.create_task(self._follow(), name="shared worker")

    async def aclose(self) -> None:
        """Closes the connection; the worker continues. Idempotent."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        self._status = WorkerStatus(WorkerState.STOPPED)
        await self._disconnect()
        self._notify()

    async def _follow(self) -> None:
        """Connects to each worker that serves; a worker that cannot be reached is reported."""
        socket = ""
        while True:
            changed = self._changed
            if self._status.socket != socket:
                socket = self._status.socket
                await self._disconnect()
                if socket:
                    await self._connect(socket)
                self._notify()
            await changed.wait()

    async def _connect(self, socket: str) -> None:
        engine = WorkerEngine(parse_address(socket))
        try:
            await engine.start()
        except SilklineError:
            self._report_lost(socket)
            return
        self._engine, self._info = engine, engine.info

    async def _disconnect(self) -> None:
        engine, self._engine = self._engine, None
        self._failed = False
        if engine is not None:
            await engine.aclose()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
