"""An engine on OpenVINO GenAI's continuous-batching pipeline.

The event loop has prompts prepared in worker threads and yields the deltas; one thread (see
`stepper`) runs the pipeline. Images of LLaVA layouts are encoded outside the pipeline (see
`embedding`), those of other families by the pipeline.
https://docs.openvino.ai, `openvino_genai.ContinuousBatchingPipeline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import openvino as ov
import openvino_genai as genai

from silkline.core import Constraint, Delta, EngineInfo, Health, Image, Request, Sampling, Usage
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.deadline import in_time
from silkline.engines.extra_options import read_extra
from silkline.engines.grammar import CompiledConstraints, ebnf, grammar_of
from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.embedding import Embedder, EmbeddingQueue, Prepared
from silkline.engines.openvino.images import scaled
from silkline.engines.openvino.prompt import Prompts
from silkline.engines.openvino.served import NAME, read_served
from silkline.engines.openvino.stepper import Job, Stepper
from silkline.engines.prepare_requests import RequestPreparer
from silkline.engines.probe import Prober
from silkline.engines.sampling import GREEDY_BELOW, answer_room, seed_of
from silkline.engines.text_stream import TextStream
from silkline.engines.threads import choose_threads

_STEP_TOKENS = 2048
"""Maximum tokens of a step, so that several images' prompts fit; the default fits only three."""

_GROUP = 64
"""Number of activations that share a scale in products with INT8 weights. The plug-in's default of
32 took 8% more CPU time at 230 million parameters; no answer of the bundled model differed."""


class OpenVinoOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The options in `EngineOptions.extra` of this engine.

    Attributes:
        prefix_cache: Whether prompts share the KV cache of a common prefix. Only for clients that
            trust one another (docs/decisions/0008).
    """

    prefix_cache: bool = False


class _PreparedRequest(NamedTuple):
    """A request, prepared for the pipeline.

    Attributes:
        prompt: The prompt, with a tag for each image; empty if it is embedded outside the pipeline.
        images: The images; empty likewise.
        prepared: The prompt to embed outside the pipeline; None if the pipeline does that.
        usage: The prompt's tokens.
        room: Maximum tokens of the answer, at least 1.
    """

    prompt: str
    images: list[ov.Tensor]
    prepared: Prepared | None
    usage: Usage
    room: int


class OpenVinoEngine(Engine):
    """Serves one model on the CPU with OpenVINO."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the model's metadata; `start` loads the model.

        Raises:
            ConfigError: The model is missing or cannot be served, or an option is wrong.
        """
        self._options = options
        self._own = read_extra(options.extra, OpenVinoOptions, NAME)
        self._served = read_served(options)
        self._stepper: Stepper | None = None
        self._preparing = RequestPreparer("openvino-prepare")
        self._embedder: Embedder | None = None
        self._embeddings: EmbeddingQueue | None = None
        self._grammars = CompiledConstraints(_grammar, "openvino-grammar")

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        return self._served.info

    @property
    def embedder(self) -> Embedder | None:
        """Embeds prompts outside the pipeline; None before `start`, or if the pipeline does."""
        return self._embedder

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        # Not in this thread: the plug-in replaces the signal stack of the thread that loads it, and
        # a signal to the main thread kills the process once that memory is unmapped.
        pipeline = await asyncio.to_thread(self.load_pipeline, self._served.weights)
        self._embedder = await asyncio.to_thread(self._load_embedder)
        self._embeddings = None if self._embedder is None else EmbeddingQueue(self._embedder)
        self._tokenizer = pipeline.get_tokenizer()
        self._defaults = pipeline.get_config()
        self._prompts = Prompts(self._served, self._tokenizer)
        self._stepper = Stepper(pipeline, loop, max_batch=self._options.max_batch)
        self._stepper.start()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        text = TextStream(self._tokenizer.decode, request.sampling.stop)
        async with aclosing(self._answer(request, text)) as deltas:
            async for delta in deltas:
                yield delta

    async def _answer(self, request: Request, text: TextStream) -> AsyncGenerator[Delta, None]:
        stepper = self._started()
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        if self._embedder is None:  # scaling images is slow
            ready = await self._preparing.run(self._prepare, request, deadline)
        else:  # the tokenizer holds the GIL, so a thread would gain nothing
            ready = self._prepare(request)
        grammar = ""
        if request.sampling.constraint is not None:
            grammar = await self._grammars.get(request.sampling.constraint, deadline)
        job = self._job(request, ready, text, grammar)
        if self._embeddings is not None and ready.prepared is not None:
            embedding = self._embeddings.embed(ready.prepared)
            embedded = await in_time(embedding, deadline, until="its answer was whole")
            job.embeddings, job.encoding = embedded
        async with aclosing(stepper.answer(job, deadline)) as deltas:
            async for delta in deltas:
                yield delta

    def health(self) -> Health:
        """See `Engine`."""
        health = self._started().health()
        embedding = 0 if self._embeddings is None else len(self._embeddings)
        return replace(health, queued=health.queued + len(self._preparing) + embedding)

    async def failed(self) -> None:
        """See `Engine`."""
        await self._started().failed.wait()

    async def aclose(self) -> None:
        """See `Engine`."""
        stepper, self._stepper = self._stepper, None
        if stepper is not None:
            if self._embeddings is not None:
                await self._embeddings.aclose()
            await asyncio.to_thread(stepper.close)
            self._preparing.close()
            self._grammars.close()

    async def token_ids(self, request: Request) -> list[int]:
        """The tokens of an answer, including its end token; for comparing engines.

        Raises:
            SilklineError: What `generate` raises.
        """
        text = _Recorded(self._tokenizer.decode, request.sampling.stop)
        async for _ in self._answer(request, text):
            pass
        return text.ids

    def prepared(self, request: Request) -> Prepared | None:
        """A request's prompt before it is embedded; None if the pipeline embeds it.

        Raises:
            InvalidRequest: The model does not accept it.
        """
        return self._prepare(request).prepared

    def pipeline_inputs(self, request: Request) -> tuple[str, list[ov.Tensor]]:
        """The pipeline's inputs: the prompt, with a tag for each image, and the scaled images.

        Raises:
            InvalidRequest: The messages do not show each image once, in order.
        """
        rule, steps = self._served.rule, self._served.preprocessing
        prompt = self._prompts.for_pipeline(request.messages, len(request.images))
        return prompt, [_tensor(scaled(image, rule, steps)) for image in request.images]

    async def prober(self) -> Prober:
        """See `silkline.engines.probe.Probed`."""
        from silkline.engines.openvino.probe import open_prober  # noqa: PLC0415 - heavy, rare

        return await asyncio.to_thread(open_prober, self, self._served.weights)

    def load_pipeline(self, weights: Path) -> genai.ContinuousBatchingPipeline:
        """Loads the pipeline with the engine's settings; also for the prober."""
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = self._served.kv_blocks
        scheduler.max_num_seqs = self._options.max_batch
        scheduler.max_num_batched_tokens = _STEP_TOKENS
        scheduler.enable_prefix_caching = self._own.prefix_cache
        properties = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP, **self._properties()}
        if self._served.kv_precision is not None:
            properties["KV_CACHE_PRECISION"] = self._served.kv_precision
        return genai.ContinuousBatchingPipeline(weights, scheduler, "CPU", properties)

    def _load_embedder(self) -> Embedder | None:
        if not Embedder.supports(self._served):
            return None
        return Embedder(self._served, self._properties())

    def _properties(self) -> dict[str, Any]:
        properties = arithmetic()
        if threads := choose_threads(self._options.threads, self._served.weights_bytes):
            properties["INFERENCE_NUM_THREADS"] = threads
        return properties

    def _started(self) -> Stepper:
        if self._stepper is None:
            raise RuntimeError("the engine has not started, or was closed")
        return self._stepper

    def _prepare(self, request: Request) -> _PreparedRequest:
        """Checks a request, formats its prompt and counts its tokens; thread-safe.

        The tokenizer's calls hold the GIL, so only one runs at a time.
        """
        messages, images = request.messages, request.images
        counts = [self._served.image_tokens(image.width, image.height) for image in images]
        prompt, prepared = "", None
        tensors: list[ov.Tensor] = []
        if self._embedder is None:
            prompt, tensors = self.pipeline_inputs(request)
            tokens = self._prompts.text_tokens(prompt) + sum(counts)
        else:
            ids = self._prompts.ids(messages, len(images))
            prepared = self._embedder.prepare(ids, images, counts)
            tokens = len(prepared.ids)
        room = answer_room(tokens, self._served.max_tokens)
        usage = Usage(tokens, 0, sum(counts))
        return _PreparedRequest(prompt, tensors, prepared, usage, room)

    def _job(
        self, request: Request, ready: _PreparedRequest, text: TextStream, grammar: str
    ) -> Job:
        maximum = min(request.sampling.max_tokens, ready.room)
        sampling = replace(request.sampling, max_tokens=maximum)
        return Job(
            id=request.id,
            prompt=ready.prompt,
            images=ready.images,
            config=self._config(sampling, grammar),
            text=text,
            usage=ready.usage,
            incremental=request.stream or bool(sampling.stop),
        )

    def _config(self, sampling: Sampling, grammar: str) -> genai.GenerationConfig:
        """Converts the sampling parameters; an empty grammar allows any text."""
        config = genai.GenerationConfig()
        config.set_eos_token_id(self._defaults.eos_token_id)
        config.stop_token_ids = self._defaults.stop_token_ids
        config.apply_chat_template = False
        config.max_new_tokens = sampling.max_tokens
        config.do_sample = sampling.temperature >= GREEDY_BELOW
        if config.do_sample:
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            config.rng_seed = seed_of(sampling)
        if grammar:
            config.structured_output_config = genai.StructuredOutputConfig(grammar=grammar)
        return config


class _Recorded(TextStream):
    """A text stream that records its tokens."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        super().__init__(decode, stop)
        self.ids: list[int] = []

    def push(self, ids: Sequence[int]) -> str:
        """See `TextStream`."""
        self.ids += ids
        return super().push(ids)


def _grammar(constraint: Constraint) -> str:
    """Returns a constraint as a grammar in EBNF, as the pipeline takes it."""
    return ebnf.write(grammar_of(constraint))


def _tensor(image: Image) -> ov.Tensor:
    pixels = np.frombuffer(image.pixels, np.uint8)
    return ov.Tensor(pixels.reshape(1, image.height, image.width, 3))
