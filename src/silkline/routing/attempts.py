"""What is tried to get a request answered, and what a lost call means for it and for others."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace

from silkline.core import Delta, Request, Stage, Timeline, join
from silkline.errors import EngineFailed, Overloaded, SilklineError, WorkerLost
from silkline.routing.dispatch import Dispatch
from silkline.routing.ejection import Ejection
from silkline.routing.in_flight import InFlight
from silkline.routing.isolation import Isolation, Turn, too_late
from silkline.routing.members import Member, Seat
from silkline.routing.quarantine import Quarantine
from silkline.routing.retries import RetryBudget

ATTEMPTS = 2
"""How often a request is given to a replica: once, and once more when its call is lost."""


class Attempts:
    """Answers requests by the replicas of a pool.

    When a call is lost before anything was given out, the request is sent once more, to another
    replica where there is one; after that the loss is the client's to know. What a far replica
    loses, or any fails at without ending, is sent again only within the budget, as is what one
    refuses because it is full, where another has room. What one of our workers lost when it ended
    always is: nothing computes it any more, and those who may have ended it take turns
    (`quarantine`).
    """

    def __init__(
        self, dispatch: Dispatch, ejection: Ejection, check_open: Callable[[], None]
    ) -> None:
        """Takes the pool's parts; `check_open` raises `ShuttingDown` once the pool ends."""
        self._dispatch = dispatch
        self._ejection = ejection
        self._check_open = check_open
        self._budget = RetryBudget()
        self._in_flight = InFlight()
        self._quarantine = Quarantine()
        self._suspects = Isolation()
        self.retries = 0
        """Requests that were sent again, so far."""
        self.in_flight = 0
        """Requests that are being answered."""

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Gives the request to a replica, and to another one when its call is lost there.

        Raises:
            SilklineError: As `EnginePool.generate` does.
        """
        self._check_open()
        self._quarantine.check(request)
        self._budget.request()
        arrived = time.monotonic()
        tried: list[Member] = []
        attempts = 0
        answered = False
        self.in_flight += 1
        try:
            while not answered:
                attempts += 1
                begun = False
                try:
                    async with aclosing(self._attempt(request, arrived, tried)) as deltas:
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
        """Whether what failed at one replica may be tried at another one."""
        if isinstance(error, Overloaded) and not self._dispatch.has_room_beside(tried):
            return False
        lost_with_worker = isinstance(error, WorkerLost) and tried.replica.falls_as_one
        return lost_with_worker or self._budget.spend()

    async def _attempt(
        self, request: Request, arrived: float, tried: list[Member]
    ) -> AsyncGenerator[Delta, None]:
        """Runs the request on one replica.

        A suspect is streamed even when its client does not ask for it: its tokens tell that it
        is alive, and when the next suspect may go.
        """
        deadline = arrived + request.timeout_seconds
        async with self._turn(request, deadline) as turn:
            self._quarantine.check(request)
            avoid = tried[-1] if tried else None
            seat = await self._dispatch.seat(_affinity(request), deadline, avoid=avoid)
            tried.append(seat.member)
            with self._dispatch.held(seat):
                waited = time.monotonic() - arrived
                if waited >= request.timeout_seconds:
                    raise too_late()
                attempt = replace(
                    request,
                    timeout_seconds=request.timeout_seconds - waited,
                    stream=request.stream or turn is not None,
                )
                chunks: list[Delta] = []
                with self._judged(seat, attempt) as answered:
                    async with aclosing(seat.engine.generate(attempt)) as deltas:
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

    @asynccontextmanager
    async def _turn(self, request: Request, deadline: float) -> AsyncIterator[Turn | None]:
        """A suspect's turn to be alone in flight; None for requests that are no suspects."""
        if not self._quarantine.strikes(request):
            yield None
            return
        turn = await self._suspects.turn(deadline)
        try:
            yield turn
        finally:
            turn.end()

    @contextmanager
    def _judged(self, seat: Seat, request: Request) -> Iterator[Callable[[], None]]:
        """Judges the replica by how the block, which is one call to it, ends.

        Yields:
            What to call when the first chunk of the answer is there.
        """
        standing, replica = seat.member.standing, seat.member.replica
        kind = "first chunk" if request.stream else request.sampling.max_tokens.bit_length()
        alone = not replica.falls_as_one
        with (
            self._in_flight.on(seat.engine, request),
            self._ejection.judging(standing, kind, trial=seat.trial, lost_alone=alone) as answered,
        ):
            try:
                yield answered
            except WorkerLost:
                replica.condemn(seat.engine)
                if not alone:
                    self._record_worker_death(seat)
                raise

    def _record_worker_death(self, seat: Seat) -> None:
        """Counts a worker's death once, when the first of its requests tells of it."""
        suspects = self._in_flight.fallen(seat.engine)
        if suspects is not None:
            self._quarantine.death(suspects)
            self._ejection.failed(seat.member.standing)


def _affinity(request: Request) -> str | None:
    """What requests share whose prompts begin with the same picture."""
    return request.images[0].digest if request.images else None


def _with_wait(delta: Delta, waited: float) -> Delta:
    """Adds the time before the request reached the engine to the engine's own queue."""
    if delta.timeline is None:
        return delta
    return replace(delta, timeline=delta.timeline.plus(Timeline({Stage.QUEUE: waited})))
