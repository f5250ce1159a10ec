"""Retries of lost calls, and what a lost call means for the replica and for other requests."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import replace

from silkline.core import Delta, Request, Stage, Timeline, join
from silkline.errors import EngineFailed, Overloaded, SilklineError, WorkerLost, http_face
from silkline.routing.attempt import Attempt
from silkline.routing.dispatch import Dispatch
from silkline.routing.ejection import Ejection
from silkline.routing.in_flight import InFlight
from silkline.routing.isolation import Isolation, SuspectTurn, too_late
from silkline.routing.members import Member, Slot
from silkline.routing.quarantine import Quarantine
from silkline.routing.retries import RetryBudget
from silkline.stores.memory import Memory

ATTEMPTS = 2
"""Maximum attempts for a request: one, and one retry when its call is lost."""


class Attempts:
    """Answers requests from the replicas of a pool, with retries.

    When a call is lost before any part of the answer was sent, the request is retried once, on
    another replica where there is one. If that is lost too, the client gets the error. Three kinds
    of failures are retried only within the retry budget: a call that a remote replica loses, a
    request at which an engine fails without ending, and a request that a full replica refuses
    while another has room. A request that a local worker lost when it ended is always retried:
    nothing computes it any more, and requests that may have ended the worker run one at a time
    (see `quarantine`).
    """

    def __init__(
        self,
        dispatch: Dispatch,
        ejection: Ejection,
        check_open: Callable[[], None],
        memory: Memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the pool's parts; `check_open` raises `ShuttingDown` once the pool is closed."""
        self._clock = clock
        self._dispatch = dispatch
        self._ejection = ejection
        self._check_open = check_open
        self._budget = RetryBudget(clock)
        self._in_flight = InFlight()
        self._quarantine = Quarantine(memory, clock)
        self._suspects = Isolation(memory, clock)
        self.retries = 0
        """Requests that were retried so far."""
        self.in_flight = 0
        """Requests that are being answered."""

    @property
    def quarantines(self) -> int:
        """Requests that were quarantined so far."""
        return self._quarantine.count

    async def answer(self, request: Request, noted: list[Attempt]) -> AsyncGenerator[Delta, None]:
        """Sends the request to a replica, and to another one when that call is lost.

        Args:
            request: The request.
            noted: Gets a record of each attempt.

        Raises:
            SilklineError: The same errors as `EnginePool.generate`.
        """
        self._check_open()
        self._quarantine.check(request)
        self._budget.request()
        arrived = self._clock()
        tried: list[Member] = []
        attempts = 0
        answered = False
        self.in_flight += 1
        try:
            while not answered:
                attempts += 1
                begun = False
                try:
                    async with aclosing(self._attempt(request, arrived, tried, noted)) as deltas:
                        async for delta in deltas:
                            begun = True
                            yield delta
                    answered = True
                except (WorkerLost, EngineFailed, Overloaded) as error:
                    self._check_open()
                    if begun:
                        raise
                    self._quarantine.check(request)
                    if attempts == ATTEMPTS or not tried or not self._may_retry(tried[-1], error):
                        raise
                    self.retries += 1
            self._quarantine.clear(request)
        finally:
            self.in_flight -= 1

    def _may_retry(self, tried: Member, error: SilklineError) -> bool:
        """Whether a request that failed on one replica may be retried."""
        if isinstance(error, Overloaded) and not self._dispatch.has_room_besides(tried):
            return False
        lost_with_worker = isinstance(error, WorkerLost) and tried.replica.fails_as_a_whole
        return lost_with_worker or self._budget.spend()

    async def _attempt(
        self, request: Request, arrived: float, tried: list[Member], noted: list[Attempt]
    ) -> AsyncGenerator[Delta, None]:
        """Runs the request on one replica.

        A suspect is streamed even when its client did not ask for a stream: its tokens show that
        it makes progress, and let the next suspect start when it takes too long.
        """
        deadline = arrived + request.timeout_seconds
        with await self._turn(request, deadline) as turn:
            self._quarantine.check(request)
            avoid = tried[-1] if tried else None
            slot = await self._dispatch.slot(_affinity(request), deadline, avoid=avoid)
            tried.append(slot.member)
            waited = self._clock() - arrived
            note = Attempt(slot.member.name, slot.reason, waited)
            noted.append(note)
            with self._dispatch.held(slot), _timed(note, self._clock):
                if waited >= request.timeout_seconds:
                    raise too_late()
                attempt = replace(
                    request,
                    timeout_seconds=request.timeout_seconds - waited,
                    stream=request.stream or turn is not None,
                )
                chunks: list[Delta] = []
                with self._judged(slot, attempt) as answered:
                    async with aclosing(slot.engine.generate(attempt)) as deltas:
                        async for delta in deltas:
                            answered()
                            if turn is not None and self._quarantine.strikes(request) < ATTEMPTS:
                                turn.yield_if_long()
                            if request.stream:
                                yield _with_wait(delta, waited)
                            else:
                                chunks.append(_with_wait(delta, waited))
                if chunks:
                    yield join(chunks)

    async def _turn(
        self, request: Request, deadline: float
    ) -> AbstractContextManager[SuspectTurn | None]:
        """A suspect's turn to be the only suspect in flight; None for other requests."""
        if not self._quarantine.strikes(request):
            return nullcontext()
        return await self._suspects.turn(deadline)

    @contextmanager
    def _judged(self, slot: Slot, request: Request) -> Iterator[Callable[[], None]]:
        """Records success or failure of one call to a replica, which the block makes.

        Yields:
            A function to call when the first chunk of the answer arrives.
        """
        record, replica = slot.member.record, slot.member.replica
        kind = "first chunk" if request.stream else request.sampling.max_tokens.bit_length()
        count_lost = not replica.fails_as_a_whole
        with (
            self._in_flight.on(slot.engine, request),
            self._ejection.judging(
                record, kind, trial=slot.trial, count_lost=count_lost
            ) as answered,
        ):
            try:
                yield answered
            except WorkerLost:
                replica.mark_failed(slot.engine)
                if not count_lost:
                    self._record_worker_death(slot)
                raise

    def _record_worker_death(self, slot: Slot) -> None:
        """Counts a worker's death once: when the first of its requests reports it."""
        suspects = self._in_flight.requests_lost_with(slot.engine)
        if suspects is not None:
            self._quarantine.death(suspects, slot.life)
            self._ejection.failed(slot.member.record)


@contextmanager
def _timed(attempt: Attempt, clock: Callable[[], float]) -> Iterator[None]:
    """Notes when an attempt ends, and the error that ends it."""
    began = clock()
    try:
        yield
    except SilklineError as error:
        attempt.error = http_face(error).code
        raise
    finally:
        attempt.seconds = clock() - began


def _affinity(request: Request) -> str | None:
    """A key that is the same for requests whose prompts begin with the same image."""
    return request.images[0].digest if request.images else None


def _with_wait(delta: Delta, waited: float) -> Delta:
    """Adds the wait before the request reached the engine to the engine's queue stage."""
    if delta.timeline is None:
        return delta
    return delta.timed(delta.timeline.plus(Timeline({Stage.QUEUE: waited})))
