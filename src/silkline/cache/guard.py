"""Uses what stands behind a tier: briefly, not too often at once, and not while it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from silkline.aio.breaker import Breaker

T = TypeVar("T")

logger = logging.getLogger("silkline.cache")

MAX_WAITING = 256
"""Uses that may wait at a time; more are left out at once, which is no failure of the store."""


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
        self._name = name
        self._faults: tuple[type[Exception], ...] = (*faults, TimeoutError)
        self._timeout = timeout_seconds
        self._waiting = 0
        self._trial: asyncio.Task[object] | None = None

    async def use(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` gives; None when it failed, or was not waited for.

        While the breaker is open, one use at a time is tried again, with nobody waiting for it.
        """
        if not self.breaker.open:
            return await self._judged(work)
        tried = self._trial is None or self._trial.done()
        if tried and self.breaker.attempt():
            self._trial = asyncio.create_task(self._judged(work))
        return None

    async def aclose(self) -> None:
        """Ends what is still tried."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait({self._trial})

    async def _judged(self, work: Callable[[], Awaitable[T]]) -> T | None:
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                result = await work()
        except self._faults as error:
            self.breaker.failed(error)
            return None
        except Exception as error:
            # A tier costs a miss, never an answer, whatever is wrong with it.
            logger.exception("defect in what the cache's %s does", self._name)
            self.breaker.failed(error)
            return None
        finally:
            self._waiting -= 1
        self.breaker.succeeded()
        return result
