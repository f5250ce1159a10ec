"""Gives each request a seat at a replica, in the order in which they ask."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from silkline.errors import Overloaded, SilklineError
from silkline.routing.choice import choose
from silkline.routing.ejection import Ejection
from silkline.routing.isolation import too_late
from silkline.routing.members import Member, Seat

RECOVERY_SECONDS = 10.0
"""How long a request waits for any replica to be ready."""

LOOK_SECONDS = 0.5
"""Time between two looks for replicas that have become slow."""


@dataclass(slots=True, eq=False)
class _Waiter:
    key: str | None
    avoid: Member | None
    seat: asyncio.Future[Seat]
    since: float


class Dispatch:
    """The seats of a pool's replicas, and the line of those who wait for one."""

    def __init__(self, members: Sequence[Member], ejection: Ejection, dice: random.Random) -> None:
        """Takes the members that requests are spread over; `dice` decides between equals."""
        self._members = tuple(members)
        self._ejection = ejection
        self._dice = dice
        self._line: deque[_Waiter] = deque()
        self._looked_at = 0.0
        self._last_ready_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for a seat."""
        return len(self._line)

    @property
    def capacity(self) -> int:
        """Seats at the replicas that requests are given to now."""
        return sum(member.replica.limit for member in self._open())

    @contextmanager
    def held(self, seat: Seat) -> Generator[Seat, None, None]:
        """Gives the seat back when the block ends."""
        try:
            yield seat
        finally:
            self._give_back(seat)

    async def seat(self, key: str | None, deadline: float, avoid: Member | None) -> Seat:
        """Waits for a seat; it must be given back, see `held`.

        Args:
            key: What this request has in common with those that should meet at one replica.
            deadline: On the monotonic clock.
            avoid: Who is not to get it, as long as another one can take it.

        Raises:
            DeadlineExceeded: There was none in time.
            Overloaded: No replica was ready for `RECOVERY_SECONDS`.
        """
        waiter = _Waiter(
            key, avoid, asyncio.get_running_loop().create_future(), since=time.monotonic()
        )
        if deadline <= waiter.since:
            raise too_late()
        self._line.append(waiter)
        self.serve()
        try:
            while not waiter.seat.done():
                until = min(deadline, self._end_of_hope(waiter))
                await asyncio.wait((waiter.seat,), timeout=until - time.monotonic())
                if not waiter.seat.done():
                    self._check_time(waiter, deadline)
            return waiter.seat.result()
        except BaseException:
            if not waiter.seat.done():
                self._line.remove(waiter)
            elif waiter.seat.exception() is None:
                self._give_back(waiter.seat.result())
            raise

    def has_room_beside(self, member: Member) -> bool:
        """Whether another replica could take a request now."""
        return any(other is not member and not other.full for other in self._open())

    def close(self, reason: SilklineError) -> None:
        """Sends away those who wait; nobody may come after."""
        while self._line:
            self._line.popleft().seat.set_exception(reason)

    def serve(self) -> None:
        """Seats those who wait; to be called whenever a replica has changed, and now and then."""
        while self._line:
            waiter = self._line[0]
            seat = self._take(waiter)
            if seat is None:
                return
            self._line.popleft()
            waiter.seat.set_result(seat)

    def _take(self, waiter: _Waiter) -> Seat | None:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._ejection.look_for_slow_ones()
        for member in self._members:
            well = member.ready and not member.full and member is not waiter.avoid
            if well and member.standing.due:
                return self._sit(member, trial=True)
        candidates = self._open()
        others = [member for member in candidates if member is not waiter.avoid]
        chosen = choose(others, waiter.key, self._dice) or choose(
            candidates, waiter.key, self._dice
        )
        return None if chosen is None else self._sit(chosen, trial=False)

    def _open(self) -> list[Member]:
        """The ready ones that are not ejected; should there be none, the ejected ones."""
        ready = [member for member in self._members if member.ready]
        return [member for member in ready if not member.standing.ejected] or ready

    def _sit(self, member: Member, *, trial: bool) -> Seat | None:
        engine = member.replica.engine
        if engine is None:
            return None
        member.in_flight += 1
        member.requests += 1
        member.standing.on_trial = member.standing.on_trial or trial
        return Seat(member, engine, trial)

    def _give_back(self, seat: Seat) -> None:
        seat.member.in_flight -= 1
        if seat.trial:
            seat.member.standing.on_trial = False
        self.serve()

    def _end_of_hope(self, waiter: _Waiter) -> float:
        """Until when it makes sense to wait for a replica to become ready."""
        now = time.monotonic()
        if any(member.ready for member in self._members):
            self._last_ready_at = now
        return max(waiter.since, self._last_ready_at) + RECOVERY_SECONDS

    def _check_time(self, waiter: _Waiter, deadline: float) -> None:
        now = time.monotonic()
        if now >= deadline:
            raise too_late()
        if now >= self._end_of_hope(waiter):
            slowest_start = max(member.replica.start_seconds for member in self._members)
            raise Overloaded(
                "The engine is being started again; try again later.",
                retry_after=max(1, math.ceil(slowest_start)),
            )
