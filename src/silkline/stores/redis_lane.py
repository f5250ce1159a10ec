"""A connection that no request can touch: jobs go in, one task works them off.

A client that is cancelled between a command and its reply leaves a connection on which the next
command reads that reply: one user's answer goes to another (CVE-2023-28858, CVE-2023-28859). Here
requests only leave a job and wait for its future. The lane's own task, which no request cancels,
is the only one that uses the connection, so that a reply has one possible reader. As the task takes
all jobs that wait, many requests share one round trip.
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
"""Jobs of one round trip."""

MAX_WAITING = 4096
"""Jobs that may wait; more get no result at once."""


class Lane(Generic[Job, Result]):
    """Works off jobs in their order, several at a time.

    A round trip that fails, or lasts longer than a job may wait, opens the breaker when it is not
    the only one; then jobs get no result at once, and the lane's task tries by itself whether work
    is possible again.

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
        """Makes a lane whose task starts with the first job.

        Args:
            name: What logs call it.
            work: Gives the results of jobs, in their order.
            probe: Tries whether work is possible.
            faults: What `work` and `probe` raise when it is not.
            timeout_seconds: The longest that a job waits for its result.
        """
        self.breaker = Breaker(name)
        self._name = name
        self._work = work
        self._probe = probe
        self._faults: tuple[type[Exception], ...] = (*faults, TimeoutError)
        self._timeout = timeout_seconds
        self._jobs: list[tuple[Job, asyncio.Future[Result | None]]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def do(self, job: Job) -> Result | None:
        """The job's result; None when it did not come in time, or the work fails."""
        if self._closed or self.breaker.open or len(self._jobs) >= MAX_WAITING:
            return None
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        future: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        self._wanted.set()
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except TimeoutError:
            return None

    async def aclose(self) -> None:
        """Ends the task; jobs that still wait get no result."""
        self._closed = True
        self._wanted.set()
        if self._task is not None:
            # Libraries may swallow this (asyncio.wait_for does at times, before Python 3.12):
            # the task then ends after what it just does, which has its own time limit.
            self._task.cancel()
            await asyncio.wait({self._task})
        self._answer_nobody()

    async def _run(self) -> None:
        while not self._closed:
            await self._wanted.wait()
            jobs, self._jobs = self._jobs[:MAX_JOBS_AT_ONCE], self._jobs[MAX_JOBS_AT_ONCE:]
            if not self._jobs:
                self._wanted.clear()
            # Who has left meanwhile, or waited too long, needs no work.
            jobs = [(job, future) for job, future in jobs if not future.done()]
            if jobs:
                await self._round_trip(jobs)
            if self.breaker.open:
                self._answer_nobody()
                await self._recover()

    async def _round_trip(self, jobs: list[tuple[Job, asyncio.Future[Result | None]]]) -> None:
        results: Sequence[Result | None] = [None] * len(jobs)
        try:
            with self._judged():
                results = await self._work([job for job, _ in jobs])
        finally:
            for (_, future), result in zip(jobs, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _recover(self) -> None:
        while self.breaker.open and not self._closed:
            await asyncio.sleep(self.breaker.seconds_to_retry)
            with self._judged():
                await self._probe()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Tells the breaker how the block went; what is too late is no better than a fault."""
        started = time.monotonic()
        try:
            yield
            if time.monotonic() - started > self._timeout:
                raise TimeoutError  # noqa: TRY301 - judged like those that `work` raises
        except self._faults as error:
            self.breaker.failed(error)
        except Exception as error:
            # Without its task the lane would give nobody a result, and not say that it fails.
            logger.exception("defect in what the cache's %s does", self._name)
            self.breaker.failed(error)
        else:
            self.breaker.succeeded()

    def _answer_nobody(self) -> None:
        jobs, self._jobs = self._jobs, []
        self._wanted.clear()
        for _, future in jobs:
            if not future.done():
                future.set_result(None)
