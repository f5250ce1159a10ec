"""The backend of the stepping thread that runs OpenVINO GenAI's pipeline; see `engines.stepper`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import openvino as ov
import openvino_genai as genai

from silkline.core import Delta, FinishReason, TokenLogprob
from silkline.engines import stepper
from silkline.engines.openvino.failures import IMAGE_ERRORS, refusal
from silkline.engines.openvino.grammar_compiler import CheckedGrammar, GrammarMemory
from silkline.engines.openvino.ledger import BlockLedger
from silkline.engines.stepper import Failed
from silkline.engines.token_bytes import TokenBytes
from silkline.errors import Overloaded

logger = logging.getLogger("silkline.engines.openvino")

__all__ = ["Failed", "Job", "Stepper"]


@dataclass(eq=False, slots=True, kw_only=True)
class Job(stepper.Job):
    """A request in the pipeline.

    Attributes:
        prompt: The formatted prompt, with a tag for each image.
        images: The images, uint8 of shape (1, height, width, 3).
        config: The sampling parameters.
        embeddings: Prompt and images as embeddings, float32 of shape (1, tokens, width); if set,
            `prompt` and `images` are empty.
        keys: The keys of its prompt's first blocks, those that may be reused.
        grammar: What the answer must match; None allows any text.
        token_bytes: The bytes of tokens, for log-probabilities; None if they are not asked for.
        generated: The answer's tokens, with its end token.
        handle: The pipeline's handle; None until it is admitted.
    """

    prompt: str
    images: list[ov.Tensor]
    config: genai.GenerationConfig
    embeddings: ov.Tensor | None = None
    keys: Sequence[bytes] = ()
    grammar: CheckedGrammar | None = None
    token_bytes: TokenBytes | None = None
    generated: list[int] = field(default_factory=list)
    handle: genai.GenerationHandle | None = None


class Stepper(stepper.Stepper[Job]):
    """Runs the pipeline in its own thread."""

    def __init__(
        self,
        pipeline: genai.ContinuousBatchingPipeline,
        loop: asyncio.AbstractEventLoop,
        *,
        max_batch: int,
        ledger: BlockLedger | None = None,
    ) -> None:
        """Creates the thread; `ledger` follows the pipeline's prefix cache, None without one."""
        backend = _Pipeline(pipeline, ledger)
        super().__init__(backend, loop, max_batch=max_batch, name="openvino-step")


class _Pipeline:
    """The pipeline as a `stepper.Backend`."""

    def __init__(
        self, pipeline: genai.ContinuousBatchingPipeline, ledger: BlockLedger | None
    ) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._grammars: GrammarMemory | None = None
        self._next_id = 0

    def admit(self, job: Job) -> bool:
        """Adds a request; the pipeline encodes its images at once and queues it."""
        ledger, tokens = self._ledger, job.usage.prompt_tokens
        if ledger is not None and not ledger.admits(tokens):
            return False
        if job.grammar is not None:
            if self._grammars is None:
                self._grammars = GrammarMemory(self._pipeline.get_tokenizer())
            self._grammars.use(job.grammar)
        self._next_id += 1
        inputs = (job.prompt, job.images) if job.embeddings is None else (job.embeddings,)
        try:
            job.handle = self._pipeline.add_request(self._next_id, *inputs, job.config)
        except IMAGE_ERRORS as error:
            # The pipeline refuses a request by an exception; other requests are not affected.
            logger.exception(
                "the pipeline refused a request", extra={"ecs": {"http.request.id": job.id}}
            )
            message = "The model cannot process this request. Change its images or its text."
            raise refusal(error, message) from error
        if ledger is not None:
            cached = ledger.begin(job, tokens, job.keys)
            job.usage = replace(job.usage, cached_tokens=cached)
        return True

    def drop(self, job: Job) -> None:
        """Cancels the request, which frees its KV blocks."""
        if job.handle is not None:
            job.handle.cancel()
        if self._ledger is not None:
            self._ledger.end(job)

    def busy(self) -> bool:
        """Whether the pipeline has unfinished requests."""
        unfinished: bool = self._pipeline.has_non_finished_requests()
        return unfinished

    def step(self, running: Sequence[Job]) -> Iterator[tuple[Job, Delta | Failed]]:
        """Runs one step and yields each request's new output."""
        ended = () if self._ledger is None else self._ledger.ended()
        self._pipeline.step()
        now = time.perf_counter()
        for job in running:
            event = _read(job, now)
            if self._ledger is not None:
                if job.generated:
                    self._ledger.advance(job, len(job.generated))
                if _has_ended(event):
                    self._ledger.end(job)
            if event is not None:
                yield job, event
        if self._ledger is not None:
            self._ledger.stepped(ended)

    def cache_use(self) -> float:
        """The used share of the KV cache, 0 to 1."""
        percent: float = self._pipeline.get_metrics().cache_usage
        return percent / 100


def _read(job: Job, now: float) -> Delta | Failed | None:
    """A request's output of the last step; None if there is none to pass on."""
    handle = job.handle
    if handle is None:
        return None
    outputs = handle.read() if handle.can_read() else None
    if outputs == {} or handle.get_status() == genai.GenerationStatus.IGNORED:
        # The pipeline drops a request without an error when it does not fit in the KV cache.
        return Failed(
            Overloaded(
                "There was not enough memory for this request. Send less text or fewer images."
            )
        )
    if outputs is None:
        return None
    output = next(iter(outputs.values()))
    ended = _reason(output.finish_reason)
    ids = output.generated_ids
    job.generated += ids
    logprobs: list[TokenLogprob] = []
    if job.token_bytes is not None:
        logprobs = list(map(job.token_bytes.logprob, ids, output.generated_log_probs))
    event = job.take(ids, ended, now, logprobs)
    if _has_ended(event) and ended is None:
        handle.cancel()
    return event


def _has_ended(event: Delta | Failed | None) -> bool:
    return isinstance(event, Failed) or (event is not None and event.finish_reason is not None)


def _reason(reason: genai.GenerationFinishReason) -> FinishReason | None:
    if reason == genai.GenerationFinishReason.NONE:
        return None
    length = reason == genai.GenerationFinishReason.LENGTH
    return FinishReason.LENGTH if length else FinishReason.STOP
