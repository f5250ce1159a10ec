"""A few things for many who want them: the tenants take turns, whoever wants how much.

In one line for all, who asks for a thousand pictures lets everybody else wait for a thousand.
Turns alone are of no use where a thing may be held for long, by a fetch from an origin that hangs:
then nobody gets more of them than are left for others, so whoever comes new finds one.
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
    """Things that are free, and a line for each scope of those who wait for one.

    What is free goes to the scope whose turn it is, and there to who came first.
    """

    def __init__(self, things: Iterable[Thing] = (), *, leaves_some: bool = False) -> None:
        """Takes what is free already.

        Args:
            things: Each is another one.
            leaves_some: A scope gets one only while it holds fewer than are free. So one alone gets
                half of them, of `n` that want many each gets one part in `n + 1`, and the last part
                stays free for who comes new.
        """
        self._free = deque(things)
        self._leaves_some = leaves_some
        self._holders: dict[Thing, bytes] = {}
        self._held: Counter[bytes] = Counter()
        self._lines: OrderedDict[bytes, deque[asyncio.Future[Thing]]] = OrderedDict()
        self._closed = False

    async def take(self, scope: bytes) -> Thing:
        """Waits for a thing, which must be given back.

        Raises:
            ShuttingDown: `close` was called.
        """
        if self._closed:
            raise shutting_down()
        if self._may_get_one(scope):  # then nobody of this scope waits
            return self._hand_out(scope)
        place: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(scope, deque()).append(place)
        try:
            thing = await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:
                self.give(place.result())
            raise
        if self._closed:  # in the same moment
            raise shutting_down()
        return thing

    def give(self, thing: Thing) -> None:
        """Gives a thing, back or anew."""
        holder = self._holders.pop(thing, None)
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        self._free.append(thing)
        while (scope := next(filter(self._may_get_one, self._lines), None)) is not None:
            self._serve(scope)

    def _serve(self, scope: bytes) -> None:
        """Gives one to the first who waits in a scope, whose next turn comes after all others'."""
        line = self._lines.pop(scope)
        place = line.popleft()
        while line and place.done():  # whose task was cancelled left its place behind
            place = line.popleft()
        if line:
            self._lines[scope] = line
        if not place.done():
            place.set_result(self._hand_out(scope))

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
        """Ends all who wait with `ShuttingDown`; nothing is given out any more."""
        self._closed = True
        for line in self._lines.values():
            for place in line:
                if not place.done():
                    place.set_exception(shutting_down())
        self._lines.clear()
