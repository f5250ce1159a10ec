"""Sends each request to a replica of the engine, and stands in for replicas that are lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence

from silkline.core import Delta, EngineInfo, Request
from silkline.errors import Overloaded, shutting_down
from silkline.routing.attempts import Attempts
from silkline.routing.dispatch import Dispatch
from silkline.routing.ejection import Ejection
from silkline.routing.health import PoolHealth, ReplicaHealth
from silkline.routing.members import Member
from silkline.routing.replica import Replica

logger = logging.getLogger("silkline.routing")


class EnginePool:
    """The replicas of one engine, used as if they were one.

    `dispatch` gives each request a seat at a replica: `choice` says at which, `ejection` which ones
    are left out. `attempts` says what happens when a call is lost.
    """

    def __init__(self, replicas: Sequence[Replica], *, seed: int | None = None) -> None:
        """Takes replicas that have not started.

        Args:
            replicas: At least one; their names differ.
            seed: Makes the choice between equals repeatable.
        """
        self._members = tuple(Member(replica) for replica in replicas)
        ejection = Ejection([member.standing for member in self._members])
        dice = random.Random(seed)  # noqa: S311 - spreads load, keeps no secret
        self._dispatch = Dispatch(self._members, ejection, dice)
        self._attempts = Attempts(self._dispatch, ejection, self._check_open)
        self._watchers: list[asyncio.Task[None]] = []
        self._served = asyncio.Event()
        self._closing = False

    async def start(self) -> None:
        """Starts all replicas, and waits for the first that serves.

        Raises:
            ShuttingDown: The pool was closed meanwhile.
            SilklineError: What the first replica raised that cannot start.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for member in self._members:
                    group.create_task(member.replica.start())
        except ExceptionGroup as failures:
            await self.aclose()
            raise failures.exceptions[0] from None
        self._watchers = [
            asyncio.create_task(self._watch(member.replica)) for member in self._members
        ]
        await self._served.wait()
        self._check_open()

    @property
    def info(self) -> EngineInfo:
        """What the engine is; raises `Overloaded` until a replica has started."""
        for member in self._members:
            if member.replica.info is not None:
                return member.replica.info
        raise Overloaded("The model is still loading; try again shortly.", retry_after=2)

    @property
    def ready(self) -> bool:
        """Whether some replica serves and made progress lately."""
        return not self._closing and any(member.ready for member in self._members)

    def capacity(self) -> int:
        """How many requests the replicas that serve now take at a time; more wait in the pool."""
        return 0 if self._closing else self._dispatch.capacity

    def health(self) -> PoolHealth:
        """A snapshot; never waits."""
        return PoolHealth(
            in_flight=self._attempts.in_flight,
            waiting=self._dispatch.waiting,
            retries=self._attempts.retries,
            replicas=tuple(map(_health, self._members)),
        )

    def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request; closing the stream, or cancelling its reader, ends it everywhere.

        Raises:
            Overloaded: No replica gets ready.
            Quarantined: The request ended two workers.
            WorkerLost: Its call was lost after the answer began, or twice.
            EngineFailed: The engine failed at it after the answer began, or twice.
            ShuttingDown: The pool ends.
            DeadlineExceeded: The request's time was over.
            SilklineError: What the engine says is wrong with the request.
        """
        return self._attempts.answer(request)

    async def aclose(self) -> None:
        """Ends all replicas; requests that still run end with `ShuttingDown`."""
        self._closing = True
        self._served.set()
        self._dispatch.close(shutting_down())
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(member.replica.aclose() for member in self._members))

    async def _watch(self, replica: Replica) -> None:
        """Tells those who wait for a seat of the replica's changes."""
        while True:
            change = replica.changed()
            try:
                if replica.info is not None:
                    self._served.set()
                self._dispatch.serve()
            except Exception:  # the next change is told all the same
                logger.exception("a change of a replica could not be told")
            await change

    def _check_open(self) -> None:
        if self._closing:
            raise shutting_down()


def _health(member: Member) -> ReplicaHealth:
    replica = member.replica
    return ReplicaHealth(
        name=replica.name,
        state=replica.state,
        ready=member.ready,
        ejected=member.standing.ejected,
        weight=replica.weight,
        limit=replica.limit,
        in_flight=member.in_flight,
        requests=member.requests,
        errors=member.standing.errors,
        restarts=replica.restarts,
        pid=replica.pid,
        rss_bytes=replica.rss_bytes,
        engine=replica.health(),
    )
