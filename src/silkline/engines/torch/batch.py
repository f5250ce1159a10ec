"""The batch: requests by stage (image encoding, prefill, decode), and their slots.

Decoding requests have the slots 0, 1, 2, ... in their order, so that they attend over one view of
the storage. Between two steps at most one prompt is partly prefilled; it has the slot after them.
When a request leaves, the last one takes its slot.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from silkline.core import Delta
from silkline.engines.stepper import Failed
from silkline.engines.torch.job import Job
from silkline.engines.torch.prefixes import Prefixes, prompt_keys
from silkline.engines.torch.runner import Part, Runner
from silkline.engines.torch.sampled import Sampled, has_ended, take
from silkline.engines.torch.schedule import Progress, plan_chunks
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.vision import Vision
from silkline.errors import SilklineError

_MARGIN = 64
"""Answer tokens for which there must be room before a request joins."""


class Batch:
    """The batch of the torch engine, a `stepper.Backend`."""

    def __init__(
        self,
        runner: Runner,
        slots: KvSlots,
        vision: Vision,
        *,
        end_ids: frozenset[int],
        chunk_tokens: int,
        prefixes: Prefixes | None = None,
    ) -> None:
        """Creates an empty batch.

        Args:
            runner: Runs the steps.
            slots: Stores keys and values.
            vision: Encodes images.
            end_ids: Tokens that end an answer.
            chunk_tokens: Maximum number of prompt tokens in a step.
            prefixes: Keeps prefixes of prompts; None keeps none.
        """
        self._runner = runner
        self._slots = slots
        self._vision = vision
        self._end_ids = end_ids
        self._chunk_tokens = chunk_tokens
        self._prefixes = prefixes
        self._unencoded: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._decoding: list[Job] = []

    def admit(self, job: Job) -> bool:
        """Adds a request if the slots have room for it beside all others in the batch."""
        jobs = [*self._unencoded, *self._ready, *self._decoding, job]
        if not self._slots.fits(len(jobs), max(map(_reserved_tokens, jobs))):
            return False
        job.join(self._end_ids)
        self._unencoded.append(job)
        return True

    def drop(self, job: Job) -> None:
        """Removes a request and frees its slot, if it has one."""
        for queue in (self._unencoded, self._ready):
            if job in queue:
                queue.remove(job)
                return
        if job in self._decoding:
            self._leave(self._decoding.index(job))

    def busy(self) -> bool:
        """Always False: all work belongs to a running request."""
        return False

    def close(self) -> None:
        """Does nothing: no step is in progress once the stepper's thread has ended."""

    def cache_use(self) -> float:
        """Returns the tokens of decoding requests as a share of what the budget holds."""
        return min(1.0, sum(job.filled for job in self._decoding) / self._slots.max_tokens)

    def step(self, running: Sequence[Job]) -> Iterator[tuple[Job, Delta | Failed]]:
        """Encodes some images, then runs the text model for all requests that are ready."""
        del running
        with torch.inference_mode():
            failed = self._encode_images()
            sampled = self._advance()
        for job, error in failed.items():
            yield job, Failed(error)
        now = time.perf_counter()
        for job, each in sampled:
            event = self._take(job, each, now)
            if event is not None:
                yield job, event

    def _encode_images(self) -> dict[Job, SilklineError]:
        """Encodes some images; requests without further images move on to the prefill."""
        if not self._unencoded:
            return {}
        hurried = bool(self._decoding or self._ready)
        failed = self._vision.encode_some(self._unencoded, hurried=hurried)
        self._ready.extend(job for job in self._unencoded if job.inputs is not None)
        self._unencoded = deque(
            job for job in self._unencoded if job.inputs is None and job not in failed
        )
        return failed

    def _advance(self) -> list[tuple[Job, Sampled]]:
        """Runs one step of the text model; returns the requests that get a token, with it."""
        self._make_room()
        parts = self._parts()
        if not self._decoding and not parts:
            return []
        jobs = [*self._decoding, *(part.job for part in parts)]
        ends = [job.filled + 1 for job in self._decoding] + [part.end for part in parts]
        self._slots.reserve(len(jobs), max(ends), filled=[job.filled for job in jobs])
        for part in parts:
            if not part.job.filled:
                self._begin(part)
        if self._prefixes is not None:  # after the reused ones were copied
            self._prefixes.trim()
        decoding = list(self._decoding)
        sampled = self._runner.run(decoding, parts)
        for job in decoding:
            job.progress.done += 1
        for part in parts:
            part.job.progress.done = part.end
            if part.finishes:
                part.job.inputs = None
                self._ready.popleft()
                self._decoding.append(part.job)
        return list(zip(self._decoding, sampled, strict=True))

    @property
    def reuses_prefixes(self) -> bool:
        """Whether keys and values of prompts are kept for later ones."""
        return self._prefixes is not None

    def _parts(self) -> list[Part]:
        """Returns chunks of the prompts for which there is room, oldest first."""
        fitting: list[Job] = []
        count = len(self._decoding)
        longest = max((job.filled + 1 for job in self._decoding), default=0)
        for job in self._ready:
            longest = max(longest, _reserved_tokens(job))
            if not job.filled and not self._slots.fits(count + 1, longest):
                break
            count += 1
            fitting.append(job)
        chunks = plan_chunks((self._remaining(job) for job in fitting), self._chunk_tokens)
        first = len(self._decoding)
        return [
            Part(fitting[chunk.index], first + chunk.index, chunk.start, chunk.end)
            for chunk in chunks
        ]

    def _remaining(self, job: Job) -> Progress:
        """What is left to prefill of a prompt, without the prefix that can be reused."""
        if job.filled or self._prefixes is None:
            return job.progress
        return replace(job.progress, done=self._prefixes.reusable(job.prompt))

    def _begin(self, part: Part) -> None:
        """Prepares the slot of a prompt's first chunk, which follows a reused prefix, if any."""
        job = part.job
        self._slots.begin(part.slot, job.progress.length)
        if self._prefixes is not None and part.start:
            self._prefixes.restore(job.prompt.keys, part.start, part.slot)
            if not job.generated:
                job.usage = replace(job.usage, cached_tokens=part.start)

    def _make_room(self) -> None:
        """Preempts the youngest requests while not all slots can grow by the next token.

        A preempted request starts again, with its generated tokens as a part of its prompt.
        """
        while self._decoding:
            prefilling = [job for job in self._ready if job.filled]
            lengths = [job.filled + 1 for job in self._decoding]
            lengths += [_reserved_tokens(job) for job in prefilling]
            if self._slots.fits(len(lengths), max(lengths)):
                return
            if prefilling:
                prefilling[0].progress.done = 0
                continue
            youngest = max(self._decoding, key=lambda job: job.joined)
            self._leave(self._decoding.index(youngest))
            youngest.rewind()
            self._unencoded.appendleft(youngest)

    def _leave(self, slot: int) -> None:
        """Removes the decoding request in a slot; the last one takes the slot, to leave no gap."""
        last = self._decoding.pop()
        end = len(self._decoding)
        if slot < end:
            self._slots.move(end, slot, last.filled)
            self._decoding[slot] = last
        if self._ready and self._ready[0].filled:
            self._slots.move(end + 1, end, self._ready[0].filled)

    def _take(self, job: Job, sampled: Sampled, now: float) -> Delta | Failed | None:
        """Adds a token to its request and returns the event; frees the slot if it is the last."""
        event = take(job, sampled, now)
        ended = has_ended(event)
        if not isinstance(event, Failed):
            self._keep(job, ended=ended)
        if ended:
            self._leave(self._decoding.index(job))
        return event

    def _keep(self, job: Job, *, ended: bool) -> None:
        """Keeps a prompt once its first token is there, and the answer when it has ended."""
        if self._prefixes is None or job.scope is None:
            return
        if ended:
            filled = job.generated[: job.filled - job.prompt_length]
            keys = prompt_keys(job.prompt, self._prefixes.image_token, job.scope, filled)
            self._prefixes.keep(keys, self._decoding.index(job))
        elif len(job.generated) == 1:
            self._prefixes.keep(job.prompt.keys, self._decoding.index(job))


def _reserved_tokens(job: Job) -> int:
    """How many tokens a request's slot must be able to hold when it joins."""
    return min(job.maximum, max(job.progress.length, job.filled) + _MARGIN)
