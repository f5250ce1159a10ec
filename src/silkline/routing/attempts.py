"""What is tried to get a request answered, and what a lost call means for it and for others."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
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

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Gives the request to a replica, and to another one when it is lost there.

        Raises:
            SilklineError: As `EnginePool.generate` does.
        """
        self._quarantine.check(request)
        self._budget.request()
        arrived = time.monotonic()
        tried: list[Member] = []
        attempts = 0
        answered = False
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

    def _may_retry(self, tried: Member, error: SilklineError) -> bool:
        """Whether what failed at one replica may be tried at one again."""
        if isinstance(error, Overloaded) and not self._dispatch.has_room_beside(tried):
            return False
        lost_with_worker = isinstance(error, WorkerLost) and tried.replica.falls_as_one
        return lost_with_worker or self._budget.spend()

    async def _attempt(
        self, request: Request, arrived: float, tried: list[Member]
    ) -> AsyncGenerator[Delta, None]:
        """Gives the request to a replica once; a suspect waits for its turn first."""
        deadline = arrived + request.timeout_seconds
        turn: Turn | None = None
        if self._quarantine.strikes(request):
            turn = await self._suspects.turn(deadline)
        try:
            self._quarantine.check(request)
            seat = await self._dispatch.seat(
                _affinity(request), deadline, avoid=tried[-1] if tried else None
            )
            tried.append(seat.member)
            with self._dispatch.held(seat):
                deltas = self._seated(seat, request, arrived, turn)
                async with aclosing(deltas):
                    async for delta in deltas:
                        yield delta
        finally:
            if turn is not None:
                turn.end()

    async def _seated(
        self, seat: Seat, request: Request, arrived: float, turn: Turn | None
    ) -> AsyncGenerator[Delta, None]:
        """Runs the request on its replica.

        A suspect is streamed even when its client does not ask for it: its tokens tell that it
        lives, and when the next one may go.
        """
        now = time.monotonic()
        remaining = arrived + request.timeout_seconds - now
        if remaining <= 0:
            raise too_late()
        attempt = replace(
            request, timeout_seconds=remaining, stream=request.stream or turn is not None
        )
        pieces: list[Delta] = []
        async with aclosing(self._board(seat, attempt, waited=now - arrived)) as deltas:
            async for delta in deltas:
                if turn is not None and self._quarantine.strikes(request) < ATTEMPTS:
                    turn.yield_if_long()
                if request.stream:
                    yield delta
                else:
                    pieces.append(delta)
        if pieces:
            yield join(pieces)

    async def _board(
        self, seat: Seat, request: Request, waited: float
    ) -> AsyncGenerator[Delta, None]:
        """Runs the request on an engine; how that ends is held for or against the replica."""
        standing, replica = seat.member.standing, seat.member.replica
        kind = "first piece" if request.stream else request.sampling.max_tokens.bit_length()
        alone = not replica.falls_as_one
        with (
            self._in_flight.on(seat.engine, request),
            self._ejection.judging(standing, kind, trial=seat.trial, lost_alone=alone) as answered,
        ):
            try:
                async with aclosing(seat.engine.generate(request)) as deltas:
                    async for delta in deltas:
                        answered()
                        yield _with_wait(delta, waited)
            except WorkerLost:
                replica.condemn(seat.engine)
                if not alone:
                    self._mourn(seat)
                raise

    def _mourn(self, seat: Seat) -> None:
        """Judges a death, when the first of its requests tells of it."""
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
