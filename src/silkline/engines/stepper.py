"""The thread that drives a model: takes requests in, steps, gives out what came.

Everything that touches the model happens here, in one thread, between two steps: requests join the
batch, leave it when they are done, and free what they hold when they are cancelled. What a batch
is, a `Backend` knows. The asyncio side sees only a queue of events a request.

When the model itself fails, its state is unknown: all requests end as those of a lost worker do,
and the engine says that it has failed, so that its process is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from silkline.core import Delta, FinishReason, Health, Stage, Timeline, Usage
from silkline.engines.deadline import in_time
from silkline.engines.text_stream import TextStream
from silkline.errors import InternalFault, SilklineError, WorkerLost

logger = logging.getLogger("silkline.engines")

_JOIN_SECONDS = 0.02
"""How long those who already run wait for newcomers to join, one at least."""

_PASS_SECONDS = 0.02
"""Longest wait for a pass of the event loop."""

_IDLE_SECONDS = 0.5
"""How long the thread waits for work before it looks whether it should end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request ended in an error."""

    error: SilklineError


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """A request on its way through the model; engines add what they need for it.

    Attributes:
        id: The request's id, for the log.
        text: Turns the tokens into text.
        usage: The prompt's tokens; the completion is counted when it ends.
        incremental: Whether the text is looked at before it is whole.
        events: Deltas, the last one with a finish reason, or a `Failed`.
        submitted: When it came, on the clock of `time.perf_counter`, as all times here.
        encoding: Seconds of that time in which its pictures were encoded, before it could join.
        joined: When it joined the batch.
        first_token: When its first token came.
        tokens: How many have come.
        unread: Those that `text` has not seen.
        cancelled: Nobody waits for it any more.
    """

    id: str
    text: TextStream
    usage: Usage
    incremental: bool
    events: asyncio.Queue[Delta | Failed] = field(default_factory=asyncio.Queue)
    submitted: float = field(default_factory=time.perf_counter)
    encoding: float = 0.0
    joined: float = 0.0
    first_token: float = 0.0
    tokens: int = 0
    unread: list[int] = field(default_factory=list)
    cancelled: bool = False

    def take(self, ids: Sequence[int], ended: FinishReason | None, now: float) -> Delta | None:
        """Takes the next tokens; gives a delta when there is something to give out.

        Args:
            ids: The tokens, the end token included where there is one.
            ended: Why these are the last ones, if they are.
            now: The time at which they came.

        Returns:
            None, or a delta. One with a finish reason is the last: the model has ended, or a stop
            string has come, after which the model need not go on.
        """
        if not self.tokens:
            self.first_token = now
        self.tokens += len(ids)
        self.unread.extend(ids)
        if ended is None and not self.incremental:
            return None
        chunk = self.text.push(self.unread)
        self.unread.clear()
        if ended is None and not self.text.stopped:
            return Delta(chunk) if chunk else None
        reason = ended if ended is not None and not self.text.stopped else FinishReason.STOP
        return Delta(chunk + self.text.finish(), reason, self._used(), self._timeline(now))

    def _used(self) -> Usage:
        return replace(self.usage, completion_tokens=self.tokens)

    def _timeline(self, now: float) -> Timeline:
        return Timeline(
            {
                Stage.QUEUE: self.joined - self.submitted - self.encoding,
                Stage.PREFILL: self.first_token - self.joined + self.encoding,
                Stage.GENERATE: now - self.first_token,
            }
        )


JobT = TypeVar("JobT", bound=Job)


class Backend(Protocol[JobT]):
    """The model, as the thread drives it; every call comes from that thread but `cache_use`."""

    def admit(self, job: JobT) -> bool:
        """Takes a request into the batch; False when there is no room for it yet.

        Raises:
            SilklineError: The request is refused; the others are not touched.
        """

    def drop(self, job: JobT) -> None:
        """Frees what a request holds that nobody waits for any more."""

    def busy(self) -> bool:
        """Whether a step would do something though no request is in the batch."""

    def step(self, running: Sequence[JobT]) -> Iterator[tuple[JobT, Delta | Failed]]:
        """One step of the batch; gives what came, and frees what ended requests held.

        Any exception means that the model has failed; what was given out before it counts.
        """

    def cache_use(self) -> float:
        """Share of the KV cache in use, 0 to 1."""


class Stepper(Generic[JobT]):
    """Owns the thread."""

    def __init__(
        self,
        backend: Backend[JobT],
        loop: asyncio.AbstractEventLoop,
        *,
        max_batch: int,
        name: str = "engine-step",
    ) -> None:
        """Makes the thread; `start` starts it.

        Args:
            backend: What steps.
            loop: Where the events are read.
            max_batch: Most requests in the batch.
            name: The thread's name.
        """
        self._backend = backend
        self._loop = loop
        self._max_batch = max_batch
        self._inbox: queue.SimpleQueue[JobT | None] = queue.SimpleQueue()
        self._waiting: deque[JobT] = deque()
        self._running: list[JobT] = []
        self._closing = False
        self._error: SilklineError | None = None
        self._progress = time.monotonic()
        self.failed = asyncio.Event()
        """Set when the model has failed: nothing is computed any more."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def answer(self, job: JobT, deadline: float) -> AsyncGenerator[Delta, None]:
        """Runs a request; what it holds is freed whenever its reader goes.

        Args:
            job: The request.
            deadline: When its time is over, on the event loop's clock.

        Yields:
            What has come since the last time, as one delta; the last one has a finish reason.

        Raises:
            DeadlineExceeded: Its time is over.
            SilklineError: What ended it.
        """
        self.submit(job)
        try:
            while True:
                delta = await _next_delta(job, deadline)
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            self.cancel(job)

    def submit(self, job: JobT) -> None:
        """Hands a request to the thread; raises what ended it when it has ended."""
        if self._error is not None:
            raise self._error
        self._inbox.put(job)

    def cancel(self, job: JobT) -> None:
        """Frees what a request holds, before the next step; harmless when it has ended."""
        job.cancelled = True

    def close(self) -> None:
        """Ends the thread; requests that still run fail."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def health(self) -> Health:
        """How the thread gets on."""
        running, queued = len(self._running), len(self._waiting) + self._inbox.qsize()
        idle = running + queued == 0 and not self.failed.is_set()
        if idle:  # a backend's own figure may be that of its last step
            return Health(running, queued, 0.0)
        age = time.monotonic() - self._progress
        return Health(running, queued, age, self._backend.cache_use())

    def _run(self) -> None:
        error: SilklineError = InternalFault("The engine was closed.")
        try:
            while not self._closing:
                self._turn()
        except Exception:
            logger.exception("the model failed; the engine has to be replaced")
            error = WorkerLost("The engine failed while it worked on this request; try again.")
        self._loop.call_soon_threadsafe(self._end, error)

    def _turn(self) -> None:
        deliveries: list[tuple[JobT, Delta | Failed]] = []
        self._receive()
        self._drop_cancelled()
        try:
            self._join(deliveries)
            if self._running or self._backend.busy():
                self._step(deliveries)
        finally:
            if deliveries:
                self._loop.call_soon_threadsafe(_deliver, deliveries)
        self._progress = time.monotonic()
        self._let_others_run()

    def _let_others_run(self) -> None:
        """Gives the event loop a pass: the model's calls may hold the interpreter's lock.

        Without it the loop, which takes requests in and sends answers out, gets the lock only by
        chance, and requests wait outside while the batch runs half empty.
        """
        passed = threading.Event()
        self._loop.call_soon_threadsafe(passed.set)
        passed.wait(_PASS_SECONDS)

    def _receive(self) -> None:
        """Takes new requests in; waits for one only when there is nothing else to do."""
        block = not (self._running or self._waiting or self._backend.busy())
        try:
            while True:
                job = self._inbox.get(block, _IDLE_SECONDS if block else None)
                if job is not None:
                    self._waiting.append(job)
                block = False
        except queue.Empty:
            return

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._running if job.cancelled]:
            self._backend.drop(job)
            self._running.remove(job)
        for job in [job for job in self._waiting if job.cancelled]:
            self._waiting.remove(job)

    def _join(self, deliveries: list[tuple[JobT, Delta | Failed]]) -> None:
        """Lets waiting requests join the batch, oldest first."""
        patience = time.perf_counter() + _JOIN_SECONDS
        while self._waiting and len(self._running) < self._max_batch:
            if len(self._running) > 1 and time.perf_counter() > patience:
                return
            job = self._waiting[0]
            job.joined = time.perf_counter()
            try:
                admitted = self._backend.admit(job)
            except SilklineError as refused:
                self._waiting.popleft()
                deliveries.append((job, Failed(refused)))
                continue
            if not admitted:
                return
            self._waiting.popleft()
            self._running.append(job)

    def _step(self, deliveries: list[tuple[JobT, Delta | Failed]]) -> None:
        for job, event in self._backend.step(tuple(self._running)):
            if isinstance(event, Failed) or event.finish_reason is not None:
                self._running.remove(job)
            deliveries.append((job, event))

    def _end(self, error: SilklineError) -> None:
        """Fails what is left; in the event loop after the thread's end, so nothing slips past."""
        self._error = error
        jobs = [*self._running, *self._waiting]
        with suppress(queue.Empty):
            while True:
                job = self._inbox.get_nowait()
                if job is not None:
                    jobs.append(job)
        self._running.clear()
        self._waiting.clear()
        _deliver([(job, Failed(error)) for job in jobs])
        if not self._closing:
            self.failed.set()


async def _next_delta(job: Job, deadline: float) -> Delta:
    """Waits for what comes next, and takes along what has come meanwhile, as one delta."""
    events = [await in_time(job.events.get(), deadline, until="its answer was whole")]
    while not job.events.empty():
        events.append(job.events.get_nowait())
    deltas = []
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        deltas.append(event)
    return replace(deltas[-1], text="".join(delta.text for delta in deltas))


def _deliver(deliveries: Sequence[tuple[Job, Delta | Failed]]) -> None:
    for job, event in deliveries:
        job.events.put_nowait(event)
