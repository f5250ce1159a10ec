"""A replica of Ray Serve that is a worker: it runs an engine, and listens for gateways.

Serve starts it, checks its health, replaces it, and lets it drain; it gets no request from Serve.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
import uuid
from dataclasses import replace

import msgspec
import psutil

from silkline.config import ModelSettings
from silkline.engines.base import Engine
from silkline.engines.registry import create_engine
from silkline.engines.worker.address import NetworkAddress
from silkline.engines.worker.progress import Progress
from silkline.engines.worker.server import WorkerServer
from silkline.engines.worker.start_errors import kind_of
from silkline.engines.worker.status import WorkerState, WorkerStatus
from silkline.errors import InternalFault, SilklineError, WorkerLost
from silkline.service.pool import engine_options, limit_of_worker, prepare
from silkline.service.ray import cluster
from silkline.service.ray.directory import NO_LOAD, RENEW_SECONDS, Entry, Load
from silkline.service.ray.scaling import report

logger = logging.getLogger("silkline.worker")

DRAIN_SECONDS = 180.0
"""Maximum seconds for a replica's requests to end when Serve stops it."""

_NOTICE_SECONDS = 3.0
"""Time for all gateways to learn that a replica drains."""

_CALL_SECONDS = 5.0


class ServeReplica:
    """One worker of an application; its methods are those that Serve calls."""

    def __init__(self, application: str) -> None:
        """Takes the application's name; `reconfigure` starts the engine."""
        import ray  # noqa: PLC0415 - an extra

        self._application = application
        self._host: str = ray.util.get_node_ip_address()
        self._directory = cluster.directory()
        self._entry = Entry(id=uuid.uuid4().hex, number=0, status=WorkerStatus())
        self._load = NO_LOAD
        self._limit = 1
        self._progress = Progress(0.0)
        self._engine: Engine | None = None
        self._server: WorkerServer | None = None
        self._failed: asyncio.Future[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Starts the engine with the model's settings, and tells the directory.

        Raises:
            SilklineError: The engine cannot start; the directory knows why.
        """
        began = time.monotonic()
        wanted = ModelSettings.model_validate_json(config["settings"])
        try:
            self._engine, self._server = await self._started(wanted)
        except SilklineError as error:
            self._told(fault=kind_of(error), message=error.message)
            await self._renew()
            raise
        self._limit = limit_of_worker(wanted.max_batch)
        self._progress = Progress(wanted.hang_timeout)
        self._failed = asyncio.ensure_future(self._engine.failed())
        status = WorkerStatus(
            WorkerState.SERVING,
            socket=str(self._server.address),
            pid=os.getpid(),
            start_seconds=time.monotonic() - began,
        )
        self._told(status=status)
        self._renewing = asyncio.create_task(self._renew_often())

    async def check_health(self) -> None:
        """Raises `WorkerLost` if Serve must replace this replica."""
        if self._failed is not None and self._failed.done():
            raise WorkerLost("The engine has failed for good.")
        if self._engine is not None and self._progress.is_stuck:
            raise WorkerLost(
                f"The engine made no progress for {self._progress.stalled_seconds:.1f} s."
            )

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the policy of autoscaling is to know."""
        health = None if self._server is None else self._server.health()
        requests = 0 if health is None else health.running + health.queued
        return report(requests, self._load, self._limit)

    async def __del__(self) -> None:
        """Drains: lets gateways know, finishes the requests, and closes the engine."""
        renewing, self._renewing = self._renewing, None
        if renewing is None or self._server is None or self._engine is None:
            return
        renewing.cancel()
        self._told(draining=True)
        await self._renew()
        await asyncio.sleep(_NOTICE_SECONDS)
        await self._server.stop(DRAIN_SECONDS - 2 * _NOTICE_SECONDS)
        await self._engine.aclose()

    async def _started(self, wanted: ModelSettings) -> tuple[Engine, WorkerServer]:
        prepared = await prepare(cluster.one_worker(wanted))
        engine = create_engine(prepared.choice.engine, engine_options(prepared))
        await engine.start()
        secret = secrets.token_urlsafe(32)
        server = WorkerServer(engine, NetworkAddress(self._host, 0, secret))
        await server.start()
        return engine, server

    async def _renew_often(self) -> None:
        while True:
            self._look()
            await self._renew()
            await asyncio.sleep(RENEW_SECONDS)

    def _look(self) -> None:
        """Takes the engine's health into the entry."""
        if self._server is None:
            raise InternalFault("The worker has not started.")
        health = self._server.health()
        self._progress.answered(health.seconds_since_progress)
        failed = self._failed is not None and self._failed.done()
        status = replace(
            self._entry.status,
            ready=self._progress.is_progressing and not failed,
            rss_bytes=psutil.Process().memory_info().rss,
            health=health,
        )
        self._told(status=status)

    async def _renew(self) -> None:
        """Tells the directory; one that does not answer is told again."""
        self._told(number=self._entry.number + 1)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                answer = await self._directory.renew.remote(
                    self._application, self._entry.id, msgspec.json.encode(self._entry)
                )
            self._load = msgspec.json.decode(answer, type=Load)
        except Exception:
            logger.warning("the directory of workers does not answer", exc_info=True)

    def _told(self, **changes: object) -> None:
        self._entry = msgspec.structs.replace(self._entry, **changes)
