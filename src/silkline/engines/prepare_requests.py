"""Prepares requests beside the event loop: large pictures would stall everyone's streams in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from silkline.core import Request
from silkline.engines.deadline import in_time
from silkline.engines.memory import too_little_memory

logger = logging.getLogger("silkline.engines")

T = TypeVar("T")

_THREADS = 2
"""Requests that are prepared at once: the batch stays full, and keeps most of the cores."""


class Preparing:
    """A few threads in which pictures are scaled, and prompts written and counted."""

    def __init__(self, name: str) -> None:
        """Makes the threads; they start when there is something to do.

        Args:
            name: Theirs.
        """
        self._threads = ThreadPoolExecutor(_THREADS, name)
        self._inside = 0

    def __len__(self) -> int:
        """Requests that are prepared, or wait for it."""
        return self._inside

    async def run(self, prepare: Callable[[Request], T], request: Request, deadline: float) -> T:
        """What `prepare` makes of a request; one whose turn has not come by its end costs nothing.

        Args:
            prepare: Called in a thread, several at a time.
            request: Given to it.
            deadline: When the request's time is over, on the event loop's clock.

        Raises:
            DeadlineExceeded: It is over.
            Overloaded: There was not enough memory.
            SilklineError: What `prepare` raises.
        """
        loop = asyncio.get_running_loop()
        self._inside += 1
        try:
            preparing = loop.run_in_executor(self._threads, prepare, request)
            return await in_time(preparing, deadline, until="its prompt was prepared")
        except MemoryError:
            logger.exception(
                "a request could not be prepared", extra={"ecs": {"http.request.id": request.id}}
            )
        finally:
            self._inside -= 1
        raise too_little_memory()

    def close(self) -> None:
        """Takes no more requests; those inside are prepared to their end."""
        self._threads.shutdown(wait=False)
