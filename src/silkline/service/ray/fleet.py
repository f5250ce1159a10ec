"""The workers of a model on a Ray cluster, as a pool of this gateway uses them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from silkline import __version__
from silkline.config import ModelSettings
from silkline.engines.worker.shared import SharedWorker
from silkline.engines.worker.start_errors import START_ERRORS
from silkline.engines.worker.status import WorkerState, WorkerStatus
from silkline.errors import SilklineError
from silkline.service.ray import cluster
from silkline.service.ray.directory import LEASE_SECONDS, RENEW_SECONDS, Entry, Load

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from silkline.service.ray.directory import Directory

logger = logging.getLogger("silkline.ray")

_LOOK_SECONDS = RENEW_SECONDS / 2
_CALL_SECONDS = 5.0
_WAIT_SECONDS = 30.0
"""Time between two log lines while no worker has started."""

_VACANT = WorkerStatus(WorkerState.STOPPED)


class FleetWorker(SharedWorker):
    """A place in a fleet: connected to one of its workers, or vacant."""

    def __init__(self, fleet: Fleet) -> None:
        """Takes the fleet, which gives it a worker."""
        super().__init__(fleet.lost)
        self._fleet = fleet
        self._published = _VACANT

    def update(self, status: WorkerStatus) -> None:
        """Takes the status of the worker that has this place."""
        self._published = status
        super().update(status)

    def status(self) -> WorkerStatus:
        """The status of the worker that has this place."""
        return self._published

    def lost_at(self, socket: str) -> None:
        """Reports that the worker at this address lost a request of another process."""
        self._fleet.lost(socket)

    async def start(self) -> None:
        """Starts the fleet; returns when its first worker serves, whichever place it has.

        Raises:
            SilklineError: As `Fleet.start`.
        """
        self.follow()
        await self._fleet.start()

    async def aclose(self) -> None:
        """Closes the connection, and leaves the fleet."""
        await self._fleet.aclose()
        await super().aclose()


@dataclass(slots=True)
class _Seen:
    """A worker of the directory.

    Attributes:
        entry: What it told last.
        at: When it told that, in monotonic seconds.
        place: Its index among the places.
        lost: The number of the entry at which a request was lost; None if none was.
    """

    entry: Entry
    at: float
    place: int
    lost: int | None = None


class Fleet:
    """Deploys the workers of a model, finds them, and gives each a place.

    Ray Serve keeps them running: it replaces those that end, adds and removes some by the load that
    `load` reports. Gateways with the same settings share them; the last one that leaves removes
    them.
    """

    def __init__(
        self,
        wanted: ModelSettings,
        load: Callable[[], Load],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the model's settings; nothing is asked of Ray before `start`.

        Args:
            wanted: The settings.
            load: What waits in this gateway.
            clock: Monotonic seconds.
        """
        self._wanted = wanted
        self._load = load
        self._clock = clock
        self._id = uuid.uuid4().hex
        self.application = application_name(wanted)
        self.workers = tuple(
            FleetWorker(self) for _ in range(max(wanted.workers, wanted.max_workers))
        )
        self._seen: dict[str, _Seen] = {}
        self._directory: ActorHandle[Directory] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._deploying: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Deploys the workers; returns when the first one serves. Idempotent.

        Raises:
            EnvironmentFault: Ray is not installed, there is no cluster, or the workers lack
                something on their nodes.
            ConfigError: The engine or one of its options is wrong.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="ray fleet")
        await asyncio.shield(self._starting)

    async def aclose(self) -> None:
        """Leaves the workers, and removes them if no other gateway uses them. Idempotent."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(), name="leave ray fleet")
        await asyncio.shield(self._leaving)

    def lost(self, socket: str) -> None:
        """Reports that the worker at this address lost a request.

        It gets none until it has told the directory about itself once more.
        """
        for seen in self._seen.values():
            if seen.entry.status.socket == socket and seen.lost is None:
                seen.lost = seen.entry.number
                self._publish(seen)

    async def _start(self) -> None:
        await cluster.connect(self._wanted.ray_address)
        self._directory = await asyncio.to_thread(cluster.directory)
        deploying = asyncio.to_thread(cluster.deploy, self.application, self._wanted)
        self._deploying = asyncio.create_task(deploying, name="deploy ray fleet")
        await asyncio.shield(self._deploying)
        notice_at = self._clock() + _WAIT_SECONDS
        while not any(worker.info is not None for worker in self.workers):
            await self._look(self._directory)
            await asyncio.sleep(_LOOK_SECONDS / 10)
            if self._clock() > notice_at:
                notice_at += _WAIT_SECONDS
                logger.warning(
                    "no worker on Ray has started yet; `serve status` tells why",
                    extra={"ecs": {"silkline.application": self.application}},
                )
        self._looking = asyncio.create_task(self._look_often(), name="ray directory")

    async def _leave(self) -> None:
        tasks = [task for task in (self._starting, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._directory is None or self._deploying is None:
            return
        await asyncio.wait({self._deploying})  # a thread, which cannot be stopped
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                others = await self._directory.leave.remote(self.application, self._id)
            if not others:
                await asyncio.to_thread(cluster.remove, self.application)
        except Exception:
            logger.warning("the workers on Ray could not be removed", exc_info=True)

    async def _look_often(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look(self._directory)
            except SilklineError as error:
                logger.error("a worker on Ray cannot start: %s", error.message)  # noqa: TRY400

    async def _look(self, directory: ActorHandle[Directory] | None) -> None:
        """Reads the directory, and gives workers their places.

        One that fails changes nothing: the workers may be well. Raises the error of a worker that
        could not start.
        """
        if directory is None:
            return
        entries: list[Entry] = []
        load = msgspec.json.encode(self._load())
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                found = await directory.look.remote(self.application, self._id, load)
            entries = [msgspec.json.decode(entry, type=Entry) for entry in found]
        except Exception:
            logger.warning("the directory of workers does not answer", exc_info=True)
            return
        self._take(entries)

    def _take(self, entries: list[Entry]) -> None:
        now = self._clock()
        for entry in entries:
            if entry.fault is None:
                self._see(entry, now)
        for name, seen in list(self._seen.items()):
            if now - seen.at > LEASE_SECONDS:
                del self._seen[name]
                self.workers[seen.place].update(_VACANT)
        for entry in entries:
            if entry.fault is not None and not self._seen:
                raise START_ERRORS[entry.fault](entry.message)

    def _see(self, entry: Entry, now: float) -> None:
        seen = self._seen.get(entry.id)
        if seen is None:
            taken = {other.place for other in self._seen.values()}
            free = [place for place in range(len(self.workers)) if place not in taken]
            if free:
                seen = self._seen[entry.id] = _Seen(entry, now, free[0])
                self._publish(seen)
            return
        if entry.number == seen.entry.number:
            return
        seen.entry, seen.at = entry, now
        if seen.lost is not None and entry.number > seen.lost + 1:
            seen.lost = None
        self._publish(seen)

    def _publish(self, seen: _Seen) -> None:
        status = seen.entry.status
        if seen.entry.draining:
            status = replace(status, ready=False)
        if seen.lost is not None:
            status = replace(status, state=WorkerState.RESTARTING, socket="", ready=False)
        self.workers[seen.place].update(status)


def application_name(wanted: ModelSettings) -> str:
    """The application's name: the same for gateways with the same settings and version."""
    settings = f"{__version__} {wanted.model_dump_json(exclude_unset=True)}"
    digest = hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", wanted.served_name or wanted.model)[-40:]
    return f"silkline-{name.strip('-')}-{digest}"
