"""Uses what stands behind a tier: briefly, not too often at once, and not while it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from silkline.cache.breaker import Breaker

T = TypeVar("T")

MOST_WAITING = 256
"""Uses that may wait at a time; more fail at once."""


class Guard:
    """Stands before one kind of use, such as reading.

    Attributes:
        breaker: Counts the uses that failed.
    """

    def __init__(
        self, name: str, *, faults: tuple[type[Exception], ...], timeout_seconds: float
    ) -> None:
        """Makes one.

        Args:
            name: What logs call it.
            faults: What a use raises when it fails.
            timeout_seconds: The longest that a use takes.
        """
        self.breaker = Breaker(name)
        self._faults: tuple[type[Exception], ...] = (*faults, TimeoutError)
        self._timeout = timeout_seconds
        self._waiting = 0

    async def use(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` gives; None when it failed, or was not tried."""
        if not self.breaker.attempt():
            return None
        if self._waiting >= MOST_WAITING:
            self.breaker.failed(TimeoutError())
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                result = await work()
        except self._faults as error:
            self.breaker.failed(error)
            return None
        finally:
            self._waiting -= 1
        self.breaker.succeeded()
        return result
