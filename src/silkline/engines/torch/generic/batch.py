"""Static batches: requests of equal shape start together, and the next batch waits for their end.

`generate` cannot take a request into a running batch. Rows whose answer has ended are computed on
until the last one ends.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from silkline.core import Delta
from silkline.engines.stepper import Failed
from silkline.engines.torch.generic.generation import Chooser, Generation
from silkline.engines.torch.generic.model import GenericModel
from silkline.engines.torch.job import Job
from silkline.engines.torch.sampled import has_ended, sample, take
from silkline.engines.torch.vision import DEVICE_ERROR, refusal, short_of_memory

logger = logging.getLogger("silkline.engines.torch")

_FILL_SECONDS = 0.02
"""How long a request waits for others of its shape before its batch starts."""

_POLL_SECONDS = 0.002
"""How long a step waits while a batch fills."""

_MAX_TOKENS = 8192
"""Maximum prompt tokens of a batch, to limit the memory of its first step; it has at least one
request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may hold.

    Attributes:
        rows: Maximum number of requests.
        budget: Bytes for keys and values.
        token_bytes: Bytes of a token's keys and values; 0 if the model keeps none.
    """

    rows: int
    budget: int
    token_bytes: int

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of one request, prompt and answer together."""
        return self.budget // self.token_bytes if self.token_bytes else sys.maxsize

    def fits(self, rows: int, prompt: int, answer: int) -> bool:
        """Whether so many requests of one shape fit; one request always does.

        Args:
            rows: Number of requests.
            prompt: Tokens of each prompt.
            answer: Tokens of the longest answer.
        """
        return rows == 1 or (
            rows <= self.rows
            and rows * prompt <= _MAX_TOKENS
            and rows * (prompt + answer) * self.token_bytes <= self.budget
        )


class StaticBatch:
    """The batches of a model without an adapter, a `stepper.Backend`."""

    def __init__(self, model: GenericModel, limits: Limits) -> None:
        """Creates an empty batch."""
        self._model = model
        self.limits = limits
        """What it may hold."""
        self._pending: deque[Job] = deque()
        self._alone: set[Job] = set()
        self._rows: list[Job | None] = []
        self._generation: Generation | None = None

    def admit(self, job: Job) -> bool:
        """Adds a request to those that wait for a batch; none while a batch runs."""
        if self._generation is not None:
            return False
        job.join(self._model.end_ids)
        self._pending.append(job)
        return True

    def drop(self, job: Job) -> None:
        """Removes a request; ends the batch if it was the last one in it."""
        if job in self._pending:
            self._pending.remove(job)
            self._alone.discard(job)
        elif job in self._rows:
            self._rows[self._rows.index(job)] = None
            if not any(self._rows):
                self._end()

    def busy(self) -> bool:
        """Always False: all work belongs to a running request."""
        return False

    def cache_use(self) -> float:
        """Returns the tokens of the batch as a share of what the budget holds."""
        jobs = [job for job in self._rows if job is not None]
        if not jobs or not self.limits.token_bytes:
            return 0.0
        tokens = len(self._rows) * (jobs[0].prompt_length + len(jobs[0].generated))
        return min(1.0, tokens * self.limits.token_bytes / self.limits.budget)

    def close(self) -> None:
        """Ends the batch. The stepper's thread must have ended."""
        self._end()

    def step(self, running: Sequence[Job]) -> Iterator[tuple[Job, Delta | Failed]]:
        """Starts a batch, or adds a token to each of its requests."""
        del running
        if self._generation is None:
            self._start()
        if self._generation is None:
            time.sleep(_POLL_SECONDS)
            return
        try:
            logits = self._generation.logits()
        except DEVICE_ERROR:
            raise
        except Exception as error:  # noqa: BLE001 - the model's code may raise any class of error
            yield from self._fail(error)
            return
        yield from self._advance(logits)

    def _advance(self, logits: torch.Tensor) -> Iterator[tuple[Job, Delta | Failed]]:
        """Samples a token for each request; the next step runs while the events are delivered."""
        live = [(row, job) for row, job in enumerate(self._rows) if job is not None]
        with torch.inference_mode():
            rows = logits[[row for row, _ in live]]
            sampled = sample(rows, [job for _, job in live], self._model.token_bytes)
        now = time.perf_counter()
        ids = [0] * len(self._rows)
        events = []
        for (row, job), each in zip(live, sampled, strict=True):
            ids[row] = max(each.token, 0)
            event = take(job, each, now)
            if has_ended(event):
                self._rows[row] = None
            if event is not None:
                events.append((job, event))
        if any(self._rows) and self._generation is not None:
            self._generation.take(ids)
        else:
            self._end()
        yield from events

    def _start(self) -> None:
        """Starts a batch with the oldest request and those of its shape, if it need not wait."""
        if not self._pending:
            return
        group = self._group()
        full = len(group) == self.limits.rows or group[0] in self._alone
        if not full and time.perf_counter() - group[0].joined < _FILL_SECONDS:
            return
        for job in group:
            self._pending.remove(job)
            self._alone.discard(job)
        self._rows = list(group)
        inputs = [job.prompt.inputs for job in group]
        longest = max(job.sampling.max_tokens for job in group)

        def generate(chooser: Chooser) -> Any:
            placed = self._model.placed(inputs)
            return self._model.generate(
                **placed, logits_processor=[chooser], max_new_tokens=longest + 1
            )

        self._generation = Generation(generate)

    def _group(self) -> list[Job]:
        """The oldest request and those after it that fit into its batch."""
        first = self._pending[0]
        group = [first]
        if first in self._alone:
            return group
        shape, answer = _shape(first), first.sampling.max_tokens
        for job in list(self._pending)[1:]:
            longest = max(answer, job.sampling.max_tokens)
            if job in self._alone or _shape(job) != shape:
                continue
            if not self.limits.fits(len(group) + 1, first.prompt_length, longest):
                continue
            group.append(job)
            answer = longest
        return group

    def _fail(self, error: Exception) -> Iterator[tuple[Job, Failed]]:
        """Ends a batch whose model raised an error; its requests are tried again one by one."""
        short = short_of_memory(error)
        jobs = [job for job in self._rows if job is not None]
        several = len(self._rows) > 1
        self._end()
        again = [job for job in jobs if several and not job.generated]
        self._pending.extendleft(reversed(again))
        self._alone.update(again)
        for job in jobs:
            if job in self._alone:
                continue
            logger.error(
                "the model failed on a request",
                exc_info=error,
                extra={"ecs": {"http.request.id": job.id}},
            )
            yield job, Failed(refusal(short_of_memory=short))

    def _end(self) -> None:
        """Ends `generate` and frees what it holds."""
        generation, self._generation = self._generation, None
        self._rows = []
        if generation is not None:
            generation.close()


def _shape(job: Job) -> tuple[tuple[str, torch.Size], ...]:
    """The shapes of a request's inputs: those of equal shapes can share a batch."""
    inputs = job.prompt.inputs
    return tuple((name, inputs[name].shape) for name in sorted(inputs))
