"""Sends each request to a replica of the engine, and stands in for replicas that are lost."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from silkline.core import Delta, Request, Stage, Timeline
from silkline.engines.base import EngineInfo, Health
from silkline.engines.text import join
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.supervisor import WorkerState, WorkerSupervisor
from silkline.errors import (
    Overloaded,
    ShuttingDown,
    WorkerLost,
)
from silkline.routing.isolation import Isolation, Turn, too_late
from silkline.routing.quarantine import Quarantine

ATTEMPTS = 2
"""How often a request is given to a worker: once, and once more when its worker is lost."""

RECOVERY_SECONDS = 10.0
"""How long a request waits for a replica to be ready."""

RATE_SECONDS = 30.0
"""Over what time the pool's rate of answers is taken; also the longest `retry_after`."""


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """How one replica gets on.

    Attributes:
        name: What metrics call it.
        state: Where its worker is in its life.
        ready: Whether it serves and made progress lately.
        in_flight: Requests that the pool gave to it and that have not ended.
        restarts: How often its worker was replaced.
        pid: The worker's process id; None while there is no process.
        rss_bytes: The worker's resident memory; None while there is no process.
        engine: What the engine last told of itself; None while no worker serves.
    """

    name: str
    state: WorkerState
    ready: bool
    in_flight: int
    restarts: int
    pid: int | None
    rss_bytes: int | None
    engine: Health | None


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """How the pool gets on.

    Attributes:
        in_flight: Places that are held: requests that wait, or are prepared, included.
        retries: Requests that were sent again because their worker was lost, so far.
        replicas: Each replica.
    """

    in_flight: int
    retries: int
    replicas: tuple[ReplicaHealth, ...]


class EnginePool:
    """The replicas of one engine, used as if they were one.

    A request goes to the ready replica with the fewest requests in flight. When its worker is lost
    before anything was given out, it is sent once more; after that the loss is the client's to
    know. `silkline.routing.quarantine` says what becomes of requests that end workers.
    """

    def __init__(self, replicas: Sequence[WorkerSupervisor], *, max_queue: int) -> None:
        """Takes replicas that have not started; `max_queue` places are in the pool."""
        self._replicas = tuple(replicas)
        self._max_queue = max_queue
        self._aboard: WeakKeyDictionary[WorkerEngine, dict[int, Request]] = WeakKeyDictionary()
        self._quarantine = Quarantine()
        self._suspects = Isolation()
        self._answered: deque[float] = deque(maxlen=256)
        self._busy_since = 0.0
        self._in_flight = 0
        self._retries = 0
        self._closing = False

    async def start(self) -> None:
        """Starts all replicas; raises what the first one raises that cannot start."""
        try:
            async with asyncio.TaskGroup() as group:
                for replica in self._replicas:
                    group.create_task(replica.start())
        except ExceptionGroup as failures:
            await self.aclose()
            raise failures.exceptions[0] from None

    @property
    def info(self) -> EngineInfo:
        """What the engine is; raises `Overloaded` until a replica has started."""
        for replica in self._replicas:
            if replica.info is not None:
                return replica.info
        raise Overloaded("The model is still loading; try again shortly.", retry_after=2)

    @property
    def ready(self) -> bool:
        """Whether some replica serves and made progress lately."""
        return not self._closing and any(replica.ready for replica in self._replicas)

    def health(self) -> PoolHealth:
        """A snapshot; never waits."""
        return PoolHealth(
            in_flight=self._in_flight,
            retries=self._retries,
            replicas=tuple(
                ReplicaHealth(
                    name=str(place),
                    state=replica.state,
                    ready=replica.ready,
                    in_flight=self._load(replica),
                    restarts=replica.restarts,
                    pid=replica.pid,
                    rss_bytes=replica.rss_bytes,
                    engine=replica.health(),
                )
                for place, replica in enumerate(self._replicas)
            ),
        )

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Holds a place in the pool for one request, from before it is whole until it is answered.

        `generate` is called inside: the places are all that is counted and limited.

        Raises:
            Overloaded: All places are taken.
            ShuttingDown: The pool ends.
        """
        self._check_open()
        if self._in_flight >= self._max_queue:
            raise Overloaded(
                "There are more requests than can be answered in time; try again later.",
                retry_after=self._seconds_to_drain(),
            )
        if not self._in_flight:
            self._busy_since = time.monotonic()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request; closing the stream, or cancelling its reader, ends it everywhere.

        The caller holds a place for it; see `reserve`.

        Raises:
            Overloaded: No replica gets ready.
            Quarantined: The request ended two workers.
            WorkerLost: Its worker ended after the answer began, or twice.
            ShuttingDown: The pool ends.
            DeadlineExceeded: The request's time was over.
            SilklineError: What the engine says is wrong with the request.
        """
        self._check_open()
        self._quarantine.check(request)
        arrived = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._attempt(request, arrived)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
            except WorkerLost:
                self._check_open()
                if begun:
                    raise
                self._quarantine.check(request)
                if attempt == ATTEMPTS:
                    raise
                self._retries += 1
            else:
                self._note_answer(request)
                return

    async def aclose(self) -> None:
        """Ends all replicas; requests that still run end with `ShuttingDown`."""
        self._closing = True
        await asyncio.gather(*(replica.aclose() for replica in self._replicas))

    async def _attempt(self, request: Request, arrived: float) -> AsyncGenerator[Delta, None]:
        """Gives the request to a replica once; a suspect waits for its turn first."""
        deadline = arrived + request.timeout_seconds
        turn: Turn | None = None
        if self._quarantine.strikes(request):
            turn = await self._suspects.turn(deadline)
        try:
            self._quarantine.check(request)
            engine = await self._ready_engine(deadline)
            now = time.monotonic()
            if now >= deadline:
                raise too_late()
            # A suspect is streamed even when its client does not ask for it: its tokens tell that
            # it lives, and when the next one may go.
            attempt = replace(
                request,
                timeout_seconds=deadline - now,
                stream=request.stream or turn is not None,
            )
            pieces: list[Delta] = []
            async with aclosing(self._board(engine, attempt, waited=now - arrived)) as deltas:
                async for delta in deltas:
                    if turn is not None and self._quarantine.strikes(request) < ATTEMPTS:
                        turn.yield_if_long()
                    if request.stream:
                        yield delta
                    else:
                        pieces.append(delta)
            if pieces:
                yield join(pieces)
        finally:
            if turn is not None:
                turn.end()

    async def _board(
        self, engine: WorkerEngine, request: Request, waited: float
    ) -> AsyncGenerator[Delta, None]:
        """Runs the request on an engine, and keeps the list of those that are on it."""
        aboard = self._aboard.setdefault(engine, {})
        aboard[id(request)] = request
        try:
            async with aclosing(engine.generate(request)) as deltas:
                async for delta in deltas:
                    yield _with_wait(delta, waited)
        except WorkerLost:
            self._mourn(engine)
            raise
        finally:
            aboard.pop(id(request), None)

    def _mourn(self, engine: WorkerEngine) -> None:
        """Judges a death, when the first of its requests tells of it."""
        aboard = self._aboard.pop(engine, None)
        if aboard is None or self._closing:
            return
        self._quarantine.death(aboard.values())
        for replica in self._replicas:
            replica.condemn(engine)

    async def _ready_engine(self, deadline: float) -> WorkerEngine:
        """The least loaded ready replica's engine; waits for one, but not for ever."""
        limit = min(deadline, time.monotonic() + RECOVERY_SECONDS)
        while True:
            self._check_open()
            ready = [replica for replica in self._replicas if replica.ready]
            engine = min(ready, key=self._load).engine if ready else None
            if engine is not None:
                return engine
            remaining = limit - time.monotonic()
            if remaining <= 0:
                break
            await self._any_change(remaining)
        if limit == deadline:
            raise too_late()
        slowest_start = max(replica.start_seconds for replica in self._replicas)
        raise Overloaded(
            "The engine is being started again; try again later.",
            retry_after=max(1, math.ceil(slowest_start)),
        )

    async def _any_change(self, timeout_seconds: float) -> None:
        changes = [asyncio.ensure_future(replica.changed()) for replica in self._replicas]
        try:
            await asyncio.wait(
                changes, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for change in changes:
                change.cancel()

    def _load(self, replica: WorkerSupervisor) -> int:
        return 0 if replica.engine is None else len(self._aboard.get(replica.engine, ()))

    def _note_answer(self, request: Request) -> None:
        self._quarantine.clear(request)
        self._answered.append(time.monotonic())

    def _seconds_to_drain(self) -> int:
        """How long it takes to answer all that is in flight, at the rate of late, in seconds."""
        now = time.monotonic()
        since = max(self._busy_since, now - RATE_SECONDS)
        answered = sum(1 for moment in self._answered if moment >= since)
        seconds = (now - since) * self._in_flight / max(1, answered)
        return max(1, math.ceil(min(seconds, RATE_SECONDS)))

    def _check_open(self) -> None:
        if self._closing:
            raise ShuttingDown("The server is about to end; send the request to another one.")


def _with_wait(delta: Delta, waited: float) -> Delta:
    """Adds the time before the request reached the engine to the engine's own queue."""
    if delta.timeline is None:
        return delta
    return replace(delta, timeline=delta.timeline.plus(Timeline({Stage.QUEUE: waited})))
