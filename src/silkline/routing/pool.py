"""A pool of engine replicas that is used like one engine."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from silkline.core import Delta, EngineInfo, Request
from silkline.errors import Overloaded, shutting_down
from silkline.routing.attempt import Attempt
from silkline.routing.attempts import Attempts
from silkline.routing.dispatch import Dispatch
from silkline.routing.ejection import Ejection, ReplicaRecord
from silkline.routing.health import PoolHealth, ReplicaHealth
from silkline.routing.members import Member
from silkline.routing.replica import Replica
from silkline.stores.memory import Memory, PrivateMemory

logger = logging.getLogger("silkline.routing")

FIRST_REPLICA = 1
"""The counter of the first replica in shared memory; counter 0 is the demand of a process."""


class EnginePool:
    """The replicas of one engine, used like one engine.

    `dispatch` gives each request a slot on a replica: `choice` picks the replica, `ejection` takes
    bad replicas out of use. `attempts` retries lost calls.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        seed: int | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes replicas that have not started.

        Args:
            replicas: At least one, with unique names.
            seed: Makes random choices repeatable.
            memory: What gateway processes share that have the same replicas in the same order: the
                requests in flight on each, and which requests are quarantined.
            clock: Monotonic seconds, at the rate of the event loop's clock.
        """
        memory = memory or PrivateMemory()
        self._members = tuple(
            Member(replica, ReplicaRecord(clock), slots=memory.counter(column))
            for column, replica in enumerate(replicas, FIRST_REPLICA)
        )
        ejection = Ejection([member.record for member in self._members])
        dice = random.Random(seed)  # noqa: S311 - spreads load, keeps no secret
        self._dispatch = Dispatch(self._members, ejection, dice, clock)
        self._attempts = Attempts(self._dispatch, ejection, self._check_open, memory, clock)
        self._watchers: list[asyncio.Task[None]] = []
        self._served = asyncio.Event()
        self._closing = False

    async def start(self) -> None:
        """Starts all replicas, and returns when the first one serves.

        Raises:
            ShuttingDown: The pool was closed meanwhile.
            SilklineError: A replica cannot start; this is the error of the first that failed.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for member in self._members:
                    group.create_task(member.replica.start())
        except ExceptionGroup as failures:
            await self.aclose()
            raise failures.exceptions[0] from None
        self._watchers = [
            asyncio.create_task(self._serve_changes(member.replica)) for member in self._members
        ]
        await self._served.wait()
        self._check_open()

    @property
    def info(self) -> EngineInfo:
        """What the engine is, with the features that all replicas have.

        Raises:
            Overloaded: No replica has started yet.
        """
        infos = [info for member in self._members if (info := member.replica.info) is not None]
        if not infos:
            raise Overloaded("The model is still loading; try again shortly.", retry_after=2)
        if all(info.features == infos[0].features for info in infos[1:]):
            return infos[0]
        common = frozenset.intersection(*(info.features for info in infos))
        return replace(infos[0], features=common)

    @property
    def ready(self) -> bool:
        """Whether at least one replica serves and made progress recently."""
        return not self._closing and any(member.ready for member in self._members)

    def capacity(self) -> int:
        """Maximum requests in flight on the replicas that serve now; further ones wait."""
        return 0 if self._closing else self._dispatch.capacity

    def serve(self) -> None:
        """Gives free slots to waiting requests; other gateway processes may have freed some."""
        self._dispatch.serve()

    def health(self) -> PoolHealth:
        """A snapshot of the pool's status; never waits."""
        return PoolHealth(
            in_flight=self._attempts.in_flight,
            waiting=self._dispatch.waiting,
            retries=self._attempts.retries,
            quarantines=self._attempts.quarantines,
            replicas=tuple(map(_health, self._members)),
        )

    def generate(
        self, request: Request, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Answers one request; closing the stream, or cancelling its reader, ends the computation.

        Args:
            request: The request.
            attempts: Gets a record of each attempt.

        Raises:
            Overloaded: No replica becomes ready.
            Quarantined: The request ended two workers.
            WorkerLost: The call was lost after the answer began, or twice.
            EngineFailed: The engine failed at the request after the answer began, or twice.
            ShuttingDown: The pool was closed.
            DeadlineExceeded: The request's timeout ended.
            SilklineError: Any other error of the engine, such as an invalid request.
        """
        return self._attempts.answer(request, [] if attempts is None else attempts)

    async def aclose(self) -> None:
        """Closes all replicas; requests that still run end with `ShuttingDown`."""
        self._closing = True
        self._served.set()
        self._dispatch.close(shutting_down())
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(member.replica.aclose() for member in self._members))

    async def _serve_changes(self, replica: Replica) -> None:
        """Gives slots to waiting requests whenever the replica changes."""
        while True:
            change = replica.changed()
            try:
                if replica.info is not None:
                    self._served.set()
                self._dispatch.serve()
            except Exception:  # the next change must still be handled
                logger.exception("handling a replica's change failed")
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
        ejected=member.record.ejected,
        weight=replica.weight,
        limit=replica.limit,
        in_flight=member.slots.own,
        requests=member.requests,
        errors=member.record.errors,
        restarts=replica.restarts,
        pid=replica.pid,
        rss_bytes=replica.rss_bytes,
        engine=replica.health(),
        certificate_expiry=replica.certificate_expiry,
    )
