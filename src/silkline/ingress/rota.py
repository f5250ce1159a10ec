"""A few things for many who want them: the tenants take turns, whoever wants how much.

In one line for all, who asks for a thousand pictures lets everybody else wait for a thousand.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from silkline.errors import ShuttingDown

Thing = TypeVar("Thing")


class Rota(Generic[Thing]):
    """Things that are free, and a line for each scope of those who wait for one.

    What is free goes to the scope whose turn it is, and there to who came first.
    """

    def __init__(self, things: Iterable[Thing] = ()) -> None:
        """Takes what is free already."""
        self._free = deque(things)
        self._lines: OrderedDict[bytes, deque[asyncio.Future[Thing]]] = OrderedDict()
        self._closed = False

    async def take(self, scope: bytes) -> Thing:
        """Waits for a thing, which must be given back.

        Raises:
            ShuttingDown: `close` was called.
        """
        if self._closed:
            raise _shutting_down()
        if self._free:  # then nobody waits
            return self._free.popleft()
        place: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(scope, deque()).append(place)
        try:
            thing = await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:
                self.give(place.result())
            raise
        if self._closed:  # in the same moment
            raise _shutting_down()
        return thing

    def give(self, thing: Thing) -> None:
        """Gives a thing, back or anew."""
        while self._lines:
            scope, line = self._lines.popitem(last=False)
            place = line.popleft()
            while line and place.done():  # whose task was cancelled left its place behind
                place = line.popleft()
            if line:
                self._lines[scope] = line
            if not place.done():
                place.set_result(thing)
                return
        self._free.append(thing)

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
                    place.set_exception(_shutting_down())
        self._lines.clear()


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("This server is shutting down. Send the request again.")
