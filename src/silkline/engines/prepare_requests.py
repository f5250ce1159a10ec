"""Prepares requests in threads: in the event loop, large images would stall all streams."""

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
"""Requests prepared at the same time: enough to keep the batch full, and few enough to leave it
most of the cores."""


class RequestPreparer:
    """A few threads that scale images, write prompts and count their tokens."""

    def __init__(self, name: str) -> None:
        """Creates the thread pool; threads start with the first requests.

        Args:
            name: Prefix of the threads' names.
        """
        self._threads = ThreadPoolExecutor(_THREADS, name)
        self._pending = 0

    def __len__(self) -> int:
        """The number of requests that are being prepared or wait for it."""
        return self._pending

    async def run(self, prepare: Callable[[Request], T], request: Request, deadline: float) -> T:
        """Runs `prepare` on a request in a thread and returns the result.

        A request whose deadline passes while it waits for a thread is never prepared.

        Args:
            prepare: Runs in a thread; several calls may run at the same time.
            request: The argument of `prepare`.
            deadline: The request's deadline, on the event loop's clock.

        Raises:
            DeadlineExceeded: The deadline has passed.
            Overloaded: There was not enough memory.
            SilklineError: An error that `prepare` raises.
        """
        loop = asyncio.get_running_loop()
        self._pending += 1
        try:
            prepared = loop.run_in_executor(self._threads, prepare, request)
            return await in_time(prepared, deadline, until="its prompt was prepared")
        except MemoryError:
            logger.exception(
                "out of memory while preparing a request",
                extra={"ecs": {"http.request.id": request.id}},
            )
        finally:
            self._pending -= 1
        raise too_little_memory()

    def close(self) -> None:
        """Accepts no more requests; pending ones are still prepared."""
        self._threads.shutdown(wait=False)
