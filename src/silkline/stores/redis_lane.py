"""A job queue in front of a connection that only one task uses.

If a request is cancelled between a command and its reply, the next command on that connection reads
this reply: one user gets another user's answer (CVE-2023-28858, CVE-2023-28859). Here, requests
only queue a job and wait for its future. The lane's own task, which no request can cancel, is the
only one that uses the connection, so every reply has one possible reader. The task takes all queued
jobs together, so many requests share one round trip.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from silkline.aio.breaker import Breaker

logger = logging.getLogger("silkline.cache")

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_JOBS_AT_ONCE = 64
"""Maximum jobs in one round trip."""

MAX_WAITING = 4096
"""Maximum queued jobs; further ones get no result, at once."""


class Lane(Generic[Job, Result]):
    """Processes jobs in order, several at a time.

    Several round trips in a row that fail, or take longer than a job's timeout, open the breaker.
    While it is open, jobs get no result, at once, and the lane's task probes the connection.

    Attributes:
        breaker: Counts the round trips that failed.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Awaitable[Sequence[Result]]],
        probe: Callable[[], Awaitable[object]],
        *,
        faults: tuple[type[Exception], ...],
        timeout_seconds: float,
    ) -> None:
        """Creates a lane whose task starts with the first job.

        Args:
            name: Name in the logs.
            work: Returns the results of jobs, in their order.
            probe: Checks whether work is possible.
            faults: Exceptions that `work` and `probe` raise if it is not.
            timeout_seconds: Maximum seconds that a job waits for its result.
        """
        self.breaker = Breaker(name)
        self._name = name
        self._work = work
        self._probe = probe
        self._faults: tuple[type[Exception], ...] = (*faults, TimeoutError)
        self._timeout = timeout_seconds
        self._jobs: list[tuple[Job, asyncio.Future[Result | None]]] = []
        self._has_jobs = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def do(self, job: Job) -> Result | None:
        """Returns the job's result; None if it timed out or the work failed."""
        if self._closed or self.breaker.open or len(self._jobs) >= MAX_WAITING:
            return None
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        future: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        self._has_jobs.set()
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except TimeoutError:
            return None

    async def aclose(self) -> None:
        """Ends the task; queued jobs get no result."""
        self._closed = True
        self._has_jobs.set()
        if self._task is not None:
            # Libraries may swallow the cancellation (asyncio.wait_for can, before Python 3.12):
            # the task then ends after its current step, which has its own timeout.
            self._task.cancel()
            await asyncio.wait({self._task})
        self._drop_jobs()

    async def _run(self) -> None:
        while not self._closed:
            await self._has_jobs.wait()
            jobs, self._jobs = self._jobs[:MAX_JOBS_AT_ONCE], self._jobs[MAX_JOBS_AT_ONCE:]
            if not self._jobs:
                self._has_jobs.clear()
            # Skip jobs that were cancelled or timed out while they were queued.
            jobs = [(job, future) for job, future in jobs if not future.done()]
            if jobs:
                await self._round_trip(jobs)
            if self.breaker.open:
                self._drop_jobs()
                await self._recover()

    async def _round_trip(self, jobs: list[tuple[Job, asyncio.Future[Result | None]]]) -> None:
        results: Sequence[Result | None] = [None] * len(jobs)
        try:
            with self._reported():
                results = await self._work([job for job, _ in jobs])
        finally:
            for (_, future), result in zip(jobs, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _recover(self) -> None:
        while self.breaker.open and not self._closed:
            await asyncio.sleep(self.breaker.seconds_to_retry)
            with self._reported():
                await self._probe()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Reports the block's outcome to the breaker; a late success counts as a failure."""
        started = time.monotonic()
        try:
            yield
            if time.monotonic() - started > self._timeout:
                raise TimeoutError  # noqa: TRY301 - handled like those that `work` raises
        except self._faults as error:
            self.breaker.failed(error)
        except Exception as error:
            # If the task died, no job would get a result, and nothing would report the failure.
            logger.exception("internal error in the cache's %s", self._name)
            self.breaker.failed(error)
        else:
            self.breaker.succeeded()

    def _drop_jobs(self) -> None:
        jobs, self._jobs = self._jobs, []
        self._has_jobs.clear()
        for _, future in jobs:
            if not future.done():
                future.set_result(None)
