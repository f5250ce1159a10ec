"""A resource pool that is shared round-robin between tenants.

With a single queue, a tenant that requests a thousand images would make all others wait for them.
Turns alone do not help if a resource is held for long, such as by a fetch from an origin that
hangs. So a tenant can be limited to as many resources as are left for others (`leaves_some`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from silkline.errors import shutting_down

Thing = TypeVar("Thing", bound=Hashable)


class FairPool(Generic[Thing]):
    """A pool of resources ("things"), with a queue for each scope.

    A free thing goes to the scope whose turn it is, and there to the request that came first.
    """

    def __init__(self, things: Iterable[Thing] = (), *, leaves_some: bool = False) -> None:
        """Creates a pool.

        Args:
            things: Things that are free from the start; all must be distinct.
            leaves_some: A scope gets a thing only while it holds fewer than are free. So a single
                busy scope gets half of them; of `n` busy scopes, each gets one part in `n + 1`, and
                the last part stays free for new scopes.
        """
        self._free = deque(things)
        self._leaves_some = leaves_some
        self._holders: dict[Thing, bytes] = {}
        self._held: Counter[bytes] = Counter()
        self._queues: OrderedDict[bytes, deque[asyncio.Future[Thing]]] = OrderedDict()
        self._closed = False

    @property
    def taken(self) -> int:
        """Things that are in use."""
        return len(self._holders)

    @property
    def waiting(self) -> int:
        """How many wait for a thing."""
        return sum(not waiter.done() for queue in self._queues.values() for waiter in queue)

    async def take(self, scope: bytes) -> Thing:
        """Waits for a thing; the caller must return it with `give`.

        Raises:
            ShuttingDown: `close` was called.
        """
        if self._closed:
            raise shutting_down()
        if self._may_get_one(scope):  # then none of this scope's requests wait
            return self._hand_out(scope)
        waiter: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(scope, deque()).append(waiter)
        try:
            thing = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())
            raise
        if self._closed:  # since the waiter got its result
            raise shutting_down()
        return thing

    def give(self, thing: Thing) -> None:
        """Returns a thing to the pool, or adds a new one."""
        holder = self._holders.pop(thing, None)
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        self._free.append(thing)
        while (scope := next(filter(self._may_get_one, self._queues), None)) is not None:
            self._serve(scope)

    def _serve(self, scope: bytes) -> None:
        """Gives a thing to a scope's first waiter; the scope's next turn is after all others'."""
        queue = self._queues.pop(scope)
        waiter = queue.popleft()
        while queue and waiter.done():  # cancelled waiters stay in the queue
            waiter = queue.popleft()
        if queue:
            self._queues[scope] = queue
        if not waiter.done():
            waiter.set_result(self._hand_out(scope))

    def _may_get_one(self, scope: bytes) -> bool:
        if self._leaves_some:
            return self._held[scope] < len(self._free)
        return bool(self._free)

    def _hand_out(self, scope: bytes) -> Thing:
        thing = self._free.popleft()
        self._holders[thing] = scope
        self._held[scope] += 1
        return thing

    @asynccontextmanager
    async def turn(self, scope: bytes) -> AsyncIterator[Thing]:
        """Holds a thing while the block runs. Raises `ShuttingDown` as `take` does."""
        thing = await self.take(scope)
        try:
            yield thing
        finally:
            self.give(thing)

    def close(self) -> None:
        """Fails all waiters, and all later calls of `take`, with `ShuttingDown`."""
        self._closed = True
        for queue in self._queues.values():
            for waiter in queue:
                if not waiter.done():
                    waiter.set_exception(shutting_down())
        self._queues.clear()
