"""A replica whose engine takes the time that it is told, on the event loop's clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass

from silkline.core import (
    Delta,
    EngineInfo,
    FinishReason,
    Health,
    Request,
    Stage,
    Timeline,
    Usage,
)
from silkline.engines.base import Engine
from silkline.errors import WorkerLost
from silkline.plan.service_times import ServiceTimes
from silkline.routing.replica import Replica, ReplicaState

PROMPT_TOKENS = 256
INFO = EngineInfo(
    "simulated", "simulated", "0", "none", context_length=8192, image_tokens=PROMPT_TOKENS
)


@dataclass(slots=True, eq=False)
class _Job:
    """A request in the engine; `outcome` gets the moment at which its prefill ended."""

    tokens: int
    outcome: asyncio.Future[float]
    prefilled: float = 0.0


class SimulatedEngine(Engine):
    """A batch by `ServiceTimes`; it sets a timer for the next change, not for every step."""

    def __init__(self, times: ServiceTimes) -> None:
        """Starts empty."""
        self._times = times
        self._waiting: deque[_Job] = deque()
        self._prefilling: _Job | None = None
        self._ends: list[tuple[float, int, _Job]] = []
        self._numbers = itertools.count()
        self._steps = 0.0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.busy_seconds = 0.0
        """Seconds in which it had work."""

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        return INFO

    async def start(self) -> None:
        """See `Engine`."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers with the tokens of `max_tokens`, in one delta."""
        loop = asyncio.get_running_loop()
        begun, tokens = loop.time(), request.sampling.max_tokens
        job = _Job(tokens, loop.create_future())
        self._advance()
        self._waiting.append(job)
        self._schedule()
        try:
            prefilled = await job.outcome
        except asyncio.CancelledError:
            self._leave(job)
            raise
        seconds = {Stage.PREFILL: prefilled - begun, Stage.GENERATE: loop.time() - prefilled}
        usage = Usage(PROMPT_TOKENS, tokens, PROMPT_TOKENS)
        yield Delta("", FinishReason.LENGTH, usage, Timeline(seconds))

    def health(self) -> Health:
        """See `Engine`."""
        return Health(len(self._ends), len(self._waiting), 0.0)

    def lose(self) -> None:
        """Fails all its requests with `WorkerLost`, as when its machine is taken away."""
        self._advance()
        lost = [*self._waiting, *(job for _, _, job in self._ends)]
        lost += [self._prefilling] if self._prefilling else []
        self._waiting.clear()
        self._ends.clear()
        self._prefilling = None
        self._schedule()
        for job in lost:
            if not job.outcome.done():
                job.outcome.set_exception(WorkerLost("The replica was taken away."))

    async def aclose(self) -> None:
        """See `Engine`."""
        self.lose()

    def measure(self) -> float:
        """Seconds in which it had work so far, up to now."""
        self._advance()
        return self.busy_seconds

    def _advance(self) -> None:
        """Accounts for the time since the last change."""
        now = asyncio.get_running_loop().time()
        passed, self._since = now - self._since, now
        if self._prefilling is not None:
            self.busy_seconds += passed
        elif self._ends:
            self.busy_seconds += passed
            self._steps += passed / self._times.step_seconds(len(self._ends))

    def _schedule(self) -> None:
        """Begins the next prefill, or continues the batch; sets the timer for its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        if self._prefilling is None and self._waiting:
            self._prefilling = self._waiting.popleft()
            self._prefilling.prefilled = loop.time() + self._times.prefill
        if self._prefilling is not None:
            self._timer = loop.call_at(self._prefilling.prefilled, self._end_prefill)
        elif self._ends:
            left = max(0.0, self._ends[0][0] - self._steps)
            seconds = left * self._times.step_seconds(len(self._ends))
            self._timer = loop.call_later(seconds, self._end_answer)

    def _end_prefill(self) -> None:
        self._advance()
        job, self._prefilling = self._prefilling, None
        if job is not None and not job.outcome.done():
            heapq.heappush(self._ends, (self._steps + job.tokens, next(self._numbers), job))
        self._schedule()

    def _end_answer(self) -> None:
        self._advance()
        if self._ends:
            _, _, job = heapq.heappop(self._ends)
            if not job.outcome.done():
                job.outcome.set_result(job.prefilled)
        self._schedule()

    def _leave(self, job: _Job) -> None:
        self._advance()
        if job in self._waiting:
            self._waiting.remove(job)
        self._ends = [end for end in self._ends if end[2] is not job]
        heapq.heapify(self._ends)
        if self._prefilling is job:
            self._prefilling = None
        self._schedule()


class SimulatedReplica(Replica):
    """A replica that a simulated autoscaler starts and stops."""

    def __init__(self, name: str, times: ServiceTimes) -> None:
        """It is stopped at first."""
        super().__init__(name, weight=1.0, limit=times.batch)
        self.simulated = SimulatedEngine(times)
        self._state = ReplicaState.STOPPED
        self._changed = asyncio.Event()

    @property
    def state(self) -> ReplicaState:
        """See `Replica`."""
        return self._state

    @property
    def ready(self) -> bool:
        """See `Replica`."""
        return self._state is ReplicaState.SERVING

    @property
    def engine(self) -> Engine | None:
        """See `Replica`."""
        return self.simulated if self.ready else None

    @property
    def info(self) -> EngineInfo | None:
        """See `Replica`."""
        return INFO

    def health(self) -> Health | None:
        """See `Replica`."""
        return self.simulated.health()

    def mark_failed(self, engine: Engine) -> None:
        """See `Replica`."""

    def changed(self) -> Coroutine[None, None, object]:
        """See `Replica`."""
        return self._changed.wait()

    def become(self, state: ReplicaState) -> None:
        """Changes its state; a replica that is no longer ready finishes what it runs."""
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """See `Replica`."""

    async def aclose(self) -> None:
        """See `Replica`."""
        self.become(ReplicaState.STOPPED)
        await self.simulated.aclose()
