"""The thread that drives a model: admits requests, runs steps and delivers the output.

Everything that touches the model happens in this one thread, between two steps: requests join the
batch, leave it when they are done, and free their resources when they are cancelled. A `Backend`
implements the batch. The asyncio side sees only one queue of events per request.

When the model itself fails, its state is unknown. All requests then end with `WorkerLost`, and the
engine reports its failure so that its process is replaced.
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

from silkline.core import Delta, FinishReason, Health, Stage, Timeline, TokenLogprob, Usage, join
from silkline.engines.chat.parts import AnswerParts
from silkline.engines.deadline import in_time
from silkline.engines.text_stream import LogprobStream, TextStream
from silkline.errors import InternalFault, SilklineError, WorkerLost

logger = logging.getLogger("silkline.engines")

_JOIN_SECONDS = 0.02
"""How long running requests wait while queued ones join; at least one joins in any case."""

_PASS_SECONDS = 0.02
"""Maximum wait for one iteration of the event loop."""

_IDLE_SECONDS = 0.5
"""How long the thread waits for work before it checks whether to stop."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The event that ends a request with an error."""

    error: SilklineError


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """A request inside the engine; engines add fields of their own.

    Attributes:
        id: The request's id, for the log.
        text: Turns the tokens into text.
        usage: The prompt's tokens; completion tokens are added when the request ends.
        incremental: Whether text is needed before the answer is complete: for streaming, to find
            stop strings or the parts of the answer, or to align log-probabilities with it.
        kept_ids: End tokens that belong to the answer; the text of all others is left out.
        parts: Splits the text into reasoning, text and tool calls.
        events: Deltas, the last one with a finish reason, or a `Failed`.
        submitted: When it was created, on the clock of `time.perf_counter`, like all times here.
        encoding: Seconds spent on encoding its images before it could join the batch.
        joined: When it joined the batch.
        first_token: When its first token was generated.
        tokens: Number of tokens generated so far.
        reasoning: How many of them are reasoning.
        unread: Generated tokens that were not passed to `text` yet.
        logprobs: Holds back log-probabilities until the text of their tokens is sent.
        cancelled: Whether its caller no longer needs the answer.
    """

    id: str
    text: TextStream
    usage: Usage
    incremental: bool
    kept_ids: frozenset[int] = frozenset()
    parts: AnswerParts = field(default_factory=AnswerParts)
    events: asyncio.Queue[Delta | Failed] = field(default_factory=asyncio.Queue)
    submitted: float = field(default_factory=time.perf_counter)
    encoding: float = 0.0
    joined: float = 0.0
    first_token: float = 0.0
    tokens: int = 0
    reasoning: int = 0
    unread: list[int] = field(default_factory=list)
    logprobs: LogprobStream = field(init=False)
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.logprobs = LogprobStream(self.text)

    def take(
        self,
        ids: Sequence[int],
        ended: FinishReason | None,
        now: float,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> Delta | Failed | None:
        """Adds the next tokens and returns an event if there is something to send.

        Args:
            ids: The tokens; if `ended` is `STOP`, the last one is the end token.
            ended: The finish reason if these are the last tokens.
            now: When they were generated.
            logprobs: The log-probability of each token, if they are asked for; the job must then
                be `incremental`.

        Returns:
            None, a delta, or a `Failed` if the text cannot be read. Generation can stop after a
            `Failed`, or a delta with a finish reason: the end, or a stop string, was found.
        """
        try:
            return self._take(ids, ended, now, logprobs)
        except Exception:
            logger.exception("the answer of request %s cannot be read", self.id)
            return Failed(InternalFault("The model's answer could not be read."))

    def _take(
        self,
        ids: Sequence[int],
        ended: FinishReason | None,
        now: float,
        logprobs: Sequence[TokenLogprob],
    ) -> Delta | None:
        if not self.tokens:
            self.first_token = now
        self.tokens += len(ids)
        self.unread.extend(ids)
        if ended is FinishReason.STOP and ids and ids[-1] not in self.kept_ids:
            self.unread.pop()
        if ended is None and not self.incremental:
            return None
        delta = self.parts.push(self._read(logprobs))
        if self.parts.thinking:
            self.reasoning = self.tokens
        stopped = self.text.stopped or self.parts.ended
        if ended is None and not stopped:
            delta = replace(delta, logprobs=self.logprobs.take())
            return delta if delta != Delta("") else None
        reason = FinishReason.STOP if ended is None or stopped else ended
        used = replace(self.usage, completion_tokens=self.tokens, reasoning_tokens=self.reasoning)
        return replace(
            join((delta, self.parts.finish(self.text.finish()))),
            finish_reason=self.parts.reason(reason),
            usage=used,
            timeline=self._timeline(now),
            logprobs=self.logprobs.take(ended=True),
            stop=self.text.found,
        )

    def _read(self, logprobs: Sequence[TokenLogprob]) -> str:
        """Returns the text that the unread tokens make final."""
        unread, self.unread = self.unread, []
        if not logprobs:
            return self.text.push(unread)
        chunk = ""
        for token, logprob in zip(unread, logprobs, strict=False):
            if not self.text.stopped:
                chunk += self.text.push((token,))
                self.logprobs.add(logprob)
        return chunk

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
    """A model and its batch; all methods but `cache_use` are called from the stepper's thread."""

    def admit(self, job: JobT) -> bool:
        """Adds a request to the batch; returns False if there is no room for it yet.

        Raises:
            SilklineError: The request is refused; other requests are not affected.
        """

    def drop(self, job: JobT) -> None:
        """Removes a cancelled request and frees its resources."""

    def busy(self) -> bool:
        """Whether a step has work to do even if no request is in the batch."""

    def step(self, running: Sequence[JobT]) -> Iterator[tuple[JobT, Delta | Failed]]:
        """Runs one step, yields its events, and frees the resources of requests that ended.

        Any exception means that the model has failed; events yielded before it are delivered.
        """

    def cache_use(self) -> float:
        """Returns the share of the KV cache in use, 0 to 1."""


class Stepper(Generic[JobT]):
    """Runs a `Backend` in a thread and connects it with the event loop."""

    def __init__(
        self,
        backend: Backend[JobT],
        loop: asyncio.AbstractEventLoop,
        *,
        max_batch: int,
        name: str = "engine-step",
    ) -> None:
        """Creates the thread; `start` starts it.

        Args:
            backend: The model and its batch.
            loop: The event loop in which events are read.
            max_batch: Maximum number of requests in the batch.
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
        """Set when the model has failed; no more requests are computed."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def answer(self, job: JobT, deadline: float) -> AsyncGenerator[Delta, None]:
        """Runs a request; closing the generator frees the request's resources.

        Args:
            job: The request.
            deadline: The request's deadline, on the event loop's clock.

        Yields:
            All text since the last delta, as one delta; the last one has a finish reason.

        Raises:
            DeadlineExceeded: The deadline has passed.
            SilklineError: The error that ended the request.
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
        """Hands a request to the thread; raises the error that ended the thread, if any."""
        if self._error is not None:
            raise self._error
        self._inbox.put(job)

    def cancel(self, job: JobT) -> None:
        """Frees a request's resources before the next step; no effect if it has ended."""
        job.cancelled = True

    def close(self) -> None:
        """Stops the thread; requests that still run fail."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def health(self) -> Health:
        """Returns the current status of the thread and its batch."""
        running, queued = len(self._running), len(self._waiting) + self._inbox.qsize()
        idle = running + queued == 0 and not self.failed.is_set()
        if idle:  # the backend's figure may be left from its last step
            return Health(running, queued, 0.0)
        age = time.monotonic() - self._progress
        return Health(running, queued, age, self._backend.cache_use())

    def _run(self) -> None:
        error: SilklineError = InternalFault("The engine was closed.")
        try:
            while not self._closing:
                self._run_once()
        except Exception:
            logger.exception("the model failed; its process must be replaced")
            error = WorkerLost("The engine failed while processing this request; try again.")
        self._loop.call_soon_threadsafe(self._end, error)

    def _run_once(self) -> None:
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
        self._yield_to_loop()

    def _yield_to_loop(self) -> None:
        """Lets the event loop run once, as the model's calls may hold the interpreter's lock.

        Otherwise the loop, which accepts requests and sends answers, gets the lock only by chance,
        and requests wait outside while the batch runs half empty.
        """
        passed = threading.Event()
        self._loop.call_soon_threadsafe(passed.set)
        passed.wait(_PASS_SECONDS)

    def _receive(self) -> None:
        """Moves new requests to the queue; blocks only if there is nothing else to do."""
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
        """Adds queued requests to the batch, oldest first."""
        join_until = time.perf_counter() + _JOIN_SECONDS
        while self._waiting and len(self._running) < self._max_batch:
            if len(self._running) > 1 and time.perf_counter() > join_until:
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
        """Fails all remaining requests.

        Runs in the event loop after the thread has ended, so that no request is missed.
        """
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
    """Waits for the next event and joins it with all that are queued behind it into one delta."""
    events = [await in_time(job.events.get(), deadline, until="its answer was complete")]
    while not job.events.empty():
        events.append(job.events.get_nowait())
    deltas = []
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        deltas.append(event)
    return join(deltas)


def _deliver(deliveries: Sequence[tuple[Job, Delta | Failed]]) -> None:
    for job, event in deliveries:
        job.events.put_nowait(event)
