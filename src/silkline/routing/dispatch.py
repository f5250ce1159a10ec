"""Gives each request a slot on a replica, in order of arrival."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from silkline.errors import Overloaded, SilklineError
from silkline.routing.choice import Reason, choose
from silkline.routing.ejection import Ejection
from silkline.routing.isolation import too_late
from silkline.routing.members import Member, Slot

RECOVERY_SECONDS = 10.0
"""How long a request waits while no replica is ready."""

LOOK_SECONDS = 0.5
"""Time between two checks for replicas that have become slow."""


@dataclass(slots=True, eq=False)
class _Waiter:
    key: str | None
    avoid: Member | None
    slot: asyncio.Future[Slot]
    since: float


class Dispatch:
    """The slots of a pool's replicas, and the queue of requests that wait for one."""

    def __init__(
        self,
        members: Sequence[Member],
        ejection: Ejection,
        dice: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the members that requests are spread over.

        Args:
            members: The members.
            ejection: Decides which of them get no requests.
            dice: Breaks ties.
            clock: Monotonic seconds, at the rate of the event loop's clock.
        """
        self._clock = clock
        self._members = tuple(members)
        self._ejection = ejection
        self._dice = dice
        self._queue: deque[_Waiter] = deque()
        self._looked_at = 0.0
        self._last_ready_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """Slots of the replicas that currently get requests."""
        return sum(member.replica.limit for member in self._open())

    @contextmanager
    def held(self, slot: Slot) -> Generator[Slot, None, None]:
        """Frees the slot when the block ends."""
        try:
            yield slot
        finally:
            self._release(slot)

    async def slot(self, key: str | None, deadline: float, avoid: Member | None) -> Slot:
        """Waits for a slot; the caller must free it, see `held`.

        Args:
            key: Requests with the same key prefer the same replica.
            deadline: On the monotonic clock.
            avoid: A replica to use only when no other can take the request.

        Raises:
            DeadlineExceeded: No slot was free before the deadline.
            Overloaded: No replica was ready for `RECOVERY_SECONDS`.
        """
        waiter = _Waiter(
            key, avoid, asyncio.get_running_loop().create_future(), since=self._clock()
        )
        if deadline <= waiter.since:
            raise too_late()
        self._queue.append(waiter)
        self.serve()
        try:
            while not waiter.slot.done():
                until = min(deadline, self._give_up_at(waiter))
                await asyncio.wait((waiter.slot,), timeout=until - self._clock())
                if not waiter.slot.done():
                    self._check_time(waiter, deadline)
            return waiter.slot.result()
        except BaseException:
            if not waiter.slot.done():
                self._queue.remove(waiter)
            elif waiter.slot.exception() is None:
                self._release(waiter.slot.result())
            raise

    def has_room_besides(self, member: Member) -> bool:
        """Whether another replica could take a request now."""
        return any(other is not member and not other.full for other in self._open())

    def close(self, reason: SilklineError) -> None:
        """Fails all waiting requests with `reason`; nothing may be queued afterwards."""
        while self._queue:
            self._queue.popleft().slot.set_exception(reason)

    def serve(self) -> None:
        """Gives free slots to waiting requests.

        Must be called whenever a replica changes, and from time to time.
        """
        while self._queue:
            waiter = self._queue[0]
            slot = self._find_slot(waiter)
            if slot is None:
                return
            self._queue.popleft()
            waiter.slot.set_result(slot)

    def _find_slot(self, waiter: _Waiter) -> Slot | None:
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._ejection.eject_slow()
        for member in self._members:
            due = member.record.due and member is not waiter.avoid
            if due and member.ready and not member.full:
                return self._take_slot(member, Reason.TRIAL)
        candidates = self._open()
        others = [member for member in candidates if member is not waiter.avoid]
        chosen = choose(others, waiter.key, self._dice) or choose(
            candidates, waiter.key, self._dice
        )
        return None if chosen is None else self._take_slot(*chosen)

    def _open(self) -> list[Member]:
        """The ready replicas that are not ejected; if there are none, the ready ejected ones."""
        ready = [member for member in self._members if member.ready]
        return [member for member in ready if not member.record.ejected] or ready

    def _take_slot(self, member: Member, reason: Reason) -> Slot | None:
        engine = member.replica.engine
        if engine is None:
            return None
        member.slots.add(1)
        member.requests += 1
        if member.full:
            member.replica.is_full()
        slot = Slot(member, engine, reason, member.replica.life)
        member.record.on_trial = member.record.on_trial or slot.trial
        return slot

    def _release(self, slot: Slot) -> None:
        slot.member.slots.add(-1)
        if slot.trial:
            slot.member.record.on_trial = False
        self.serve()

    def _give_up_at(self, waiter: _Waiter) -> float:
        """When a waiting request gives up on a replica becoming ready, on the monotonic clock."""
        now = self._clock()
        if any(member.ready for member in self._members):
            self._last_ready_at = now
        return max(waiter.since, self._last_ready_at) + RECOVERY_SECONDS

    def _check_time(self, waiter: _Waiter, deadline: float) -> None:
        now = self._clock()
        if now >= deadline:
            raise too_late()
        if now >= self._give_up_at(waiter):
            slowest_start = max(member.replica.start_seconds for member in self._members)
            raise Overloaded(
                "The engine is restarting; try again later.",
                retry_after=max(1, math.ceil(slowest_start)),
            )
