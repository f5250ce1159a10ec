"""The thread that drives the pipeline: takes requests in, steps, gives out what came.

Everything that touches the pipeline happens here, in one thread, between two steps: requests join
the batch, leave it when they are done, and free their slot when they are cancelled. The asyncio
side sees only a queue of events a request.

When the pipeline itself fails, its state is unknown: all requests end as those of a lost worker do,
and the engine says that it has failed, so that its process is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import openvino as ov
import openvino_genai as genai

from silkline.core import Delta, FinishReason, Stage, Timeline, Usage
from silkline.engines.base import Health
from silkline.engines.text import TextStream
from silkline.errors import (
    InternalFault,
    InvalidRequest,
    Overloaded,
    SilklineError,
    WorkerLost,
)

logger = logging.getLogger("silkline.engines.openvino")

_JOIN_SECONDS = 0.02
"""How long those who already run wait for the pictures of newcomers, one picture at least."""

_LOOP_PASSES = 1
"""Passes of the event loop after each step: one hands over what came, one takes new requests."""

_PASS_SECONDS = 0.02
"""Longest wait for such a pass."""

_IDLE_SECONDS = 0.5
"""How long the thread waits for work before it looks whether it should end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request ended in an error."""

    error: SilklineError


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way through the pipeline.

    Attributes:
        id: The request's id, for the log.
        prompt: The formatted prompt, with a tag for each picture.
        images: The pictures, uint8 of shape (1, height, width, 3).
        config: How to sample.
        text: Turns the tokens into text.
        usage: The prompt's tokens; the completion is counted when it ends.
        incremental: Whether the text is looked at before it is whole.
        events: Deltas, the last one with a finish reason, or a `Failed`.
    """

    id: str
    prompt: str
    images: list[ov.Tensor]
    config: genai.GenerationConfig
    text: TextStream
    usage: Usage
    incremental: bool
    events: asyncio.Queue[Delta | Failed] = field(default_factory=asyncio.Queue)
    submitted: float = field(default_factory=time.perf_counter)
    joined: float = 0.0
    first_token: float = 0.0
    tokens: int = 0
    unread: list[int] = field(default_factory=list)
    handle: genai.GenerationHandle | None = None
    cancelled: bool = False


class Stepper:
    """Owns the pipeline's thread."""

    def __init__(
        self,
        pipeline: genai.ContinuousBatchingPipeline,
        loop: asyncio.AbstractEventLoop,
        *,
        max_batch: int,
    ) -> None:
        self._pipeline = pipeline
        self._loop = loop
        self._max_batch = max_batch
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._next_id = 0
        self._closing = False
        self._error: SilklineError | None = None
        self._progress = time.monotonic()
        self.failed = asyncio.Event()
        """Set when the pipeline has failed: nothing is computed any more."""
        self._thread = threading.Thread(target=self._run, name="openvino-step", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hands a request to the thread; raises what ended it when it has ended."""
        if self._error is not None:
            raise self._error
        self._inbox.put(job)

    def cancel(self, job: Job) -> None:
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
        age = 0.0 if idle else time.monotonic() - self._progress
        return Health(running, queued, age, self._pipeline.get_metrics().cache_usage / 100)

    def _run(self) -> None:
        error: SilklineError = InternalFault("The engine was closed.")
        try:
            while not self._closing:
                self._turn()
        except Exception:
            logger.exception("the pipeline failed; the engine has to be replaced")
            error = WorkerLost("The engine failed while it worked on this request; try again.")
        self._loop.call_soon_threadsafe(self._end, error)

    def _turn(self) -> None:
        deliveries: list[tuple[Job, Delta | Failed]] = []
        self._receive()
        self._drop_cancelled()
        try:
            self._join(deliveries)
            if self._running or self._pipeline.has_non_finished_requests():
                self._step(deliveries)
        finally:
            if deliveries:
                self._loop.call_soon_threadsafe(_deliver, deliveries)
        self._progress = time.monotonic()
        self._let_others_run()

    def _let_others_run(self) -> None:
        """Gives the event loop its turn: the pipeline's calls hold the interpreter's lock.

        Without it the loop, which takes requests in and sends answers out, gets the lock only by
        chance, and requests wait outside while the batch runs half empty.
        """
        for _ in range(_LOOP_PASSES):
            passed = threading.Event()
            self._loop.call_soon_threadsafe(passed.set)
            passed.wait(_PASS_SECONDS)

    def _receive(self) -> None:
        """Takes new requests in; waits for one only when there is nothing else to do."""
        block = not (self._running or self._waiting or self._pipeline.has_non_finished_requests())
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
            if job.handle is not None:
                job.handle.cancel()
            self._running.remove(job)
        for job in [job for job in self._waiting if job.cancelled]:
            self._waiting.remove(job)

    def _join(self, deliveries: list[tuple[Job, Delta | Failed]]) -> None:
        """Lets waiting requests join the batch; the pipeline encodes their pictures at once."""
        patience = time.perf_counter() + _JOIN_SECONDS
        while self._waiting and len(self._running) < self._max_batch:
            if len(self._running) > 1 and time.perf_counter() > patience:
                return
            job = self._waiting.popleft()
            job.joined = time.perf_counter()
            self._next_id += 1
            try:
                job.handle = self._pipeline.add_request(
                    self._next_id, job.prompt, job.images, job.config
                )
            except RuntimeError:
                # The pipeline refuses a request by an exception; the others are not touched.
                logger.exception(
                    "the pipeline refused a request", extra={"ecs": {"http.request.id": job.id}}
                )
                refused = InvalidRequest("The model cannot process this request as it stands.")
                deliveries.append((job, Failed(refused)))
                continue
            self._running.append(job)

    def _step(self, deliveries: list[tuple[Job, Delta | Failed]]) -> None:
        self._pipeline.step()
        now = time.perf_counter()
        for job in list(self._running):
            event = _read(job, now)
            if event is None:
                continue
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


def _read(job: Job, now: float) -> Delta | Failed | None:
    """What a step brought for a request, if anything that can be given out."""
    handle = job.handle
    if handle is None:
        return None
    outputs = handle.read() if handle.can_read() else None
    if outputs == {} or handle.get_status() == genai.GenerationStatus.IGNORED:
        # The pipeline gives a request up, without a word, when the KV cache cannot hold it.
        return Failed(Overloaded("There was not enough memory for this request; shorten it."))
    if outputs is None:
        return None
    output = next(iter(outputs.values()))
    if not job.tokens:
        job.first_token = now
    job.tokens += len(output.generated_ids)
    job.unread.extend(output.generated_ids)
    ended = output.finish_reason != genai.GenerationFinishReason.NONE
    if not ended and not job.incremental:
        return None
    piece = job.text.push(job.unread)
    job.unread.clear()
    if job.text.stopped and not ended:
        handle.cancel()
    if ended or job.text.stopped:
        reason = _reason(job, output.finish_reason)
        return Delta(piece + job.text.finish(), reason, _usage(job), _timeline(job, now))
    return Delta(piece) if piece else None


def _reason(job: Job, reason: genai.GenerationFinishReason) -> FinishReason:
    if not job.text.stopped and reason == genai.GenerationFinishReason.LENGTH:
        return FinishReason.LENGTH
    return FinishReason.STOP


def _usage(job: Job) -> Usage:
    return Usage(job.usage.prompt_tokens, job.tokens, job.usage.image_tokens)


def _timeline(job: Job, now: float) -> Timeline:
    return Timeline(
        {
            Stage.QUEUE: job.joined - job.submitted,
            Stage.PREFILL: job.first_token - job.joined,
            Stage.GENERATE: now - job.first_token,
        }
    )


def _deliver(deliveries: list[tuple[Job, Delta | Failed]]) -> None:
    for job, event in deliveries:
        job.events.put_nowait(event)
