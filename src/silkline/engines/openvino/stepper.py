"""The thread that drives the pipeline: takes requests in, steps, gives out what came.

Everything that touches the pipeline happens here, in one thread, between two steps: requests join
the batch, leave it when they are done, and free their slot when they are cancelled. The asyncio
side sees only a queue of events a request.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import openvino as ov
import openvino_genai as genai

from silkline.core import Delta, FinishReason, Stage, Timeline, Usage
from silkline.engines.base import Health
from silkline.engines.text import TextStream
from silkline.errors import InternalFault, InvalidRequest, SilklineError

logger = logging.getLogger("silkline.engines.openvino")

_JOIN_SECONDS = 0.02
"""How long those who already run wait for the pictures of newcomers, one picture at least."""

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
        prompt: The formatted prompt, with a tag for each picture.
        images: The pictures, uint8 of shape (1, height, width, 3).
        config: How to sample.
        text: Turns the tokens into text.
        usage: The prompt's tokens; the completion is counted when it ends.
        incremental: Whether the text is looked at before it is whole.
        events: Deltas, the last one with a finish reason, or a `Failed`.
    """

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
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="openvino-step", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hands a request to the thread."""
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
        idle = running + queued == 0
        age = 0.0 if idle else time.monotonic() - self._progress
        return Health(running, queued, age, self._pipeline.get_metrics().cache_usage / 100)

    def _run(self) -> None:
        while not self._closing:
            self._receive()
            deliveries: list[tuple[Job, Delta | Failed]] = []
            self._drop_cancelled()
            self._join(deliveries)
            if self._running or self._pipeline.has_non_finished_requests():
                self._step(deliveries)
            self._progress = time.monotonic()
            if deliveries:
                self._loop.call_soon_threadsafe(_deliver, deliveries)
        self._fail_all(InternalFault("The engine was closed."))

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

    def _join(self, deliveries: list[tuple[Job, Delta | Failed]]) -> None:
        """Lets waiting requests join the batch; the pipeline encodes their pictures at once."""
        patience = time.perf_counter() + _JOIN_SECONDS
        while self._waiting and len(self._running) < self._max_batch:
            if len(self._running) > 1 and time.perf_counter() > patience:
                return
            job = self._waiting.popleft()
            if job.cancelled:
                continue
            job.joined = time.perf_counter()
            self._next_id += 1
            try:
                job.handle = self._pipeline.add_request(
                    self._next_id, job.prompt, job.images, job.config
                )
            except RuntimeError:
                # The pipeline refuses a request by an exception; the others are not touched.
                logger.exception("the pipeline refused a request")
                refused = InvalidRequest("The model cannot process this request as it stands.")
                deliveries.append((job, Failed(refused)))
                continue
            self._running.append(job)

    def _step(self, deliveries: list[tuple[Job, Delta | Failed]]) -> None:
        self._pipeline.step()
        now = time.perf_counter()
        for job in list(self._running):
            delta = _read(job, now)
            if delta is None:
                continue
            if delta.finish_reason is not None:
                self._running.remove(job)
            deliveries.append((job, delta))

    def _fail_all(self, error: SilklineError) -> None:
        failed: Delta | Failed = Failed(error)
        jobs = [*self._running, *self._waiting]
        self._running.clear()
        self._waiting.clear()
        self._loop.call_soon_threadsafe(_deliver, [(job, failed) for job in jobs])


def _read(job: Job, now: float) -> Delta | None:
    """What a step brought for a request, if anything that can be given out."""
    handle = job.handle
    if handle is None or not handle.can_read():
        return None
    output = next(iter(handle.read().values()))
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
