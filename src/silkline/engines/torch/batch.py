"""The batch: who waits for pictures, who for the prefill, who generates, and who has which slot.

Those that generate have the slots 0, 1, 2, ... in their order, so that they attend over one view of
the storage. The prompt whose prefill has begun, of which there is one at the most between two
steps, has the slot after them. Whoever leaves is replaced by the last one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

import torch

from silkline.core import Delta, FinishReason
from silkline.engines.stepper import Failed
from silkline.engines.torch.job import Job
from silkline.engines.torch.runner import Part, Runner
from silkline.engines.torch.sampling import NO_TOKEN
from silkline.engines.torch.schedule import plan_chunks
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.vision import Vision
from silkline.errors import InternalFault, SilklineError

_MARGIN = 64
"""Tokens of its answer for which a request must find room before it joins."""


class Batch:
    """A `stepper.Backend`."""

    def __init__(
        self,
        runner: Runner,
        slots: KvSlots,
        vision: Vision,
        *,
        end_ids: frozenset[int],
        chunk_tokens: int,
    ) -> None:
        """Makes an empty batch.

        Args:
            runner: Runs its steps.
            slots: Where its keys and values are.
            vision: Encodes its pictures.
            end_ids: Tokens that end an answer.
            chunk_tokens: Most prompt tokens of a step.
        """
        self._runner = runner
        self._slots = slots
        self._vision = vision
        self._end_ids = end_ids
        self._chunk_tokens = chunk_tokens
        self._unseen: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._decoding: list[Job] = []

    def admit(self, job: Job) -> bool:
        """Takes a request in when there is room for all that are in, and for it."""
        inside = [*self._unseen, *self._ready, *self._decoding, job]
        if not self._slots.fits(len(inside), max(_wanted(each) for each in inside)):
            return False
        self._unseen.append(job)
        return True

    def drop(self, job: Job) -> None:
        """Frees a request's slot; harmless when it has none."""
        for queue in (self._unseen, self._ready):
            if job in queue:
                queue.remove(job)
                return
        if job in self._decoding:
            self._leave(self._decoding.index(job))

    def busy(self) -> bool:
        """Never: what is in the batch belongs to a request that runs."""
        return False

    def cache_use(self) -> float:
        """Tokens in the slots as a share of what the budget holds."""
        return min(1.0, sum(each.filled for each in self._decoding) / self._slots.max_tokens)

    def step(self, running: Sequence[Job]) -> Iterator[tuple[Job, Delta | Failed]]:
        """Encodes some pictures, and runs the text model over all that is ready."""
        del running
        with torch.inference_mode():
            failed = self._see()
            came = self._advance()
        for job, error in failed.items():
            yield job, Failed(error)
        now = time.perf_counter()
        for job, token in came:
            event = self._take(job, token, now)
            if event is not None:
                yield job, event

    def _see(self) -> dict[Job, SilklineError]:
        """Lets requests whose pictures are encoded go on to the prefill."""
        if not self._unseen:
            return {}
        hurried = bool(self._decoding or self._ready)
        failed = self._vision.look(self._unseen, hurried=hurried)
        self._ready.extend(each for each in self._unseen if each.inputs is not None)
        self._unseen = deque(
            each for each in self._unseen if each.inputs is None and each not in failed
        )
        return failed

    def _advance(self) -> list[tuple[Job, int]]:
        """One step of the text model; the next token of each that has one."""
        self._make_room()
        parts = self._parts()
        if not self._decoding and not parts:
            return []
        everyone = [*self._decoding, *(part.job for part in parts)]
        ends = [each.filled + 1 for each in self._decoding] + [part.end for part in parts]
        self._slots.reserve(len(everyone), max(ends), filled=[each.filled for each in everyone])
        for part in parts:
            if part.start == 0:
                self._slots.clear(part.slot, part.job.progress.length)
        decoding = list(self._decoding)
        ids = self._runner.run(decoding, parts)
        for job in decoding:
            job.progress.done += 1
        for part in parts:
            part.job.progress.done = part.end
            if part.finishes:
                part.job.inputs = None
                self._ready.popleft()
                self._decoding.append(part.job)
        return list(zip(self._decoding, ids, strict=True))

    def _parts(self) -> list[Part]:
        """Pieces of the prompts for which there is room, oldest first."""
        roomy: list[Job] = []
        count = len(self._decoding)
        longest = max((each.filled + 1 for each in self._decoding), default=0)
        for job in self._ready:
            longest = max(longest, _wanted(job))
            if not job.filled and not self._slots.fits(count + 1, longest):
                break
            count += 1
            roomy.append(job)
        chunks = plan_chunks([each.progress for each in roomy], self._chunk_tokens)
        first = len(self._decoding)
        return [
            Part(roomy[chunk.place], first + chunk.place, chunk.start, chunk.end)
            for chunk in chunks
        ]

    def _make_room(self) -> None:
        """Sends the youngest back when the slots of all cannot grow by the next token.

        They start again, with what they have generated as a part of their prompt.
        """
        while self._decoding:
            begun = [each for each in self._ready if each.filled]
            lengths = [each.filled + 1 for each in self._decoding]
            lengths += [_wanted(each) for each in begun]
            if self._slots.fits(len(lengths), max(lengths)):
                return
            if begun:
                begun[0].progress.done = 0
                continue
            youngest = max(self._decoding, key=lambda each: each.joined)
            self._leave(self._decoding.index(youngest))
            youngest.rewind()
            self._unseen.appendleft(youngest)

    def _leave(self, slot: int) -> None:
        """Gives a slot to the last one, so that there is no gap."""
        last = self._decoding.pop()
        end = len(self._decoding)
        if slot < end:
            self._slots.move(end, slot, last.filled)
            self._decoding[slot] = last
        if self._ready and self._ready[0].filled:
            self._slots.move(end + 1, end, self._ready[0].filled)

    def _take(self, job: Job, token: int, now: float) -> Delta | Failed | None:
        """What a token means for its request; frees the slot of one that ends with it."""
        if token == NO_TOKEN:
            self._leave(self._decoding.index(job))
            return Failed(_overflow())
        job.generated.append(token)
        ended = None
        if token in self._end_ids:
            ended = FinishReason.STOP
        elif len(job.generated) == job.sampling.max_tokens:
            ended = FinishReason.LENGTH
        delta = job.take((token,), ended, now)
        if delta is not None and delta.finish_reason is not None:
            self._leave(self._decoding.index(job))
        return delta


def _wanted(job: Job) -> int:
    """Tokens that its slot should be able to hold when it joins."""
    return min(job.maximum, max(job.progress.length, job.filled) + _MARGIN)


def _overflow() -> InternalFault:
    return InternalFault(
        "The model's arithmetic failed on this request: its next token has no likelihood that is a "
        "number. The operator may serve the model with dtype=float32."
    )
