"""Guards the store behind a tier with a timeout, a concurrency limit and a circuit breaker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from silkline.aio.breaker import Breaker

T = TypeVar("T")

logger = logging.getLogger("silkline.cache")

MAX_WAITING = 256
"""Maximum concurrent operations; further ones are skipped, which is not a failure of the store."""


class Guard:
    """Guards one kind of operation, such as reading.

    Attributes:
        breaker: Opens when operations fail, and counts them.
    """

    def __init__(
        self, name: str, *, faults: tuple[type[Exception], ...], timeout_seconds: float
    ) -> None:
        """Starts with a closed breaker.

        Args:
            name: Its name in logs.
            faults: The exceptions of a failed operation.
            timeout_seconds: The timeout of an operation.
        """
        self.breaker = Breaker(name)
        self._name = name
        self._faults: tuple[type[Exception], ...] = (*faults, TimeoutError)
        self._timeout = timeout_seconds
        self._waiting = 0
        self._trial: asyncio.Task[object] | None = None

    async def use(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result of `work`; None if it failed or was skipped.

        While the breaker is open, one operation at a time runs as a trial in the background, and
        its caller gets None at once.
        """
        if not self.breaker.open:
            return await self._judged(work)
        tried = self._trial is None or self._trial.done()
        if tried and self.breaker.attempt():
            self._trial = asyncio.create_task(self._judged(work))
        return None

    async def aclose(self) -> None:
        """Cancels a running trial."""
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
            # A defect in a tier must cost only a miss, never the answer.
            logger.exception("defect in the cache's %s", self._name)
            self.breaker.failed(error)
            return None
        finally:
            self._waiting -= 1
        self.breaker.succeeded()
        return result
