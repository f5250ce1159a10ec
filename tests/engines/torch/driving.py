"""Drives a batch step by step in the test's own thread, as the stepping thread does."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from silkline.core import Delta, Request, Usage
from silkline.engines.stepper import Failed
from silkline.engines.text_stream import TextStream
from silkline.engines.torch.families.base import Family, Prompt
from silkline.engines.torch.job import Job
from silkline.engines.torch.load_model import PackedModel, load
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.prefixes import prompt_keys


def loaded(
    folder: Path,
    *,
    max_batch: int = 4,
    kv_cache_bytes: int = 1 << 24,
    prefill_chunk: int = 16,
    feature_cache_bytes: int = 0,
    reuse: bool = True,
) -> PackedModel:
    options = TorchOptions(
        device="cpu",
        dtype="float32",
        prefill_chunk=prefill_chunk,
        feature_cache_bytes=feature_cache_bytes,
        reuse=reuse,
    )
    made = load(folder, options, max_batch=max_batch, kv_cache_bytes=kv_cache_bytes, threads=1)
    assert isinstance(made, PackedModel)
    return made


def keys_of(family: Family, prompt: Prompt, scope: bytes | None = b"") -> tuple[bytes, ...]:
    return prompt_keys(prompt, family.image_token_id, scope)


def job(family: Family, request: Request, most_tokens: int) -> Job:
    prompt = family.prepare(request.messages, request.images)
    prompt = replace(prompt, keys=keys_of(family, prompt, request.reuse_scope))
    room = most_tokens - len(prompt.ids)
    assert room > 0
    sampling = request.sampling
    return Job(
        id=request.id,
        text=TextStream(family.decode, sampling.stop),
        usage=Usage(len(prompt.ids), 0),
        incremental=True,
        prompt=prompt,
        sampling=replace(sampling, max_tokens=min(sampling.max_tokens, room)),
        seed=sampling.seed or 0,
        scope=request.reuse_scope,
    )


class Driver:
    """Steps a batch.

    Attributes:
        running: In the batch.
        waiting: Not yet admitted.
        ended: What ended each request, in order.
        steps: How many there were.
    """

    def __init__(self, model: PackedModel, max_batch: int = 4) -> None:
        self.model = model
        self.max_batch = max_batch
        self.running: list[Job] = []
        self.waiting: deque[Job] = deque()
        self.ended: dict[Job, Delta | Failed] = {}
        self.steps = 0

    def add(self, request: Request) -> Job:
        made = job(self.model.family, request, self.model.max_tokens)
        self.waiting.append(made)
        return made

    def cancel(self, gone: Job) -> None:
        if gone in self.running:
            self.running.remove(gone)
            self.model.batch.drop(gone)
        elif gone in self.waiting:
            self.waiting.remove(gone)

    def step(self) -> None:
        while self.waiting and len(self.running) < self.max_batch:
            self.waiting[0].joined = float(self.steps)
            if not self.model.batch.admit(self.waiting[0]):
                break
            self.running.append(self.waiting.popleft())
        self.steps += 1
        for each, event in self.model.batch.step(tuple(self.running)):
            if isinstance(event, Failed) or event.finish_reason is not None:
                self.running.remove(each)
                self.ended[each] = event

    def run(self, arrivals: Mapping[int, Sequence[Request]] | None = None) -> None:
        """Steps until all have ended; requests come in at their steps."""
        left = dict(arrivals or {})
        while self.running or self.waiting or left:
            for request in left.pop(self.steps, ()):
                self.add(request)
            self.step()
            assert self.steps < 5000, "it does not end"


def alone(model: PackedModel, request: Request) -> list[int]:
    """The tokens of the answer to one request."""
    driver = Driver(model)
    made = driver.add(request)
    driver.run()
    return made.generated
