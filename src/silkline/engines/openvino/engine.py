"""The engine contract over OpenVINO GenAI's continuous-batching pipeline.

The asyncio side has prompts prepared, in threads of their own, and hands out deltas; one thread
(see `stepper`) drives the pipeline. Pictures of LLaVA layouts are encoded beside it (see
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

from silkline.core import Delta, EngineInfo, Health, Image, Request, Sampling, Usage
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.deadline import in_time
from silkline.engines.extra_options import read_extra
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
"""Most tokens of a step: prompts of several pictures at once; the default holds but three."""

_GROUP = 64
"""Activations that share a scale where INT8 weights are multiplied; the plug-in's own 32 took 8%
more of the cores at 230 million parameters, and no answer of the bundled model differed."""


class OpenVinoOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `EngineOptions.extra` may hold for this engine.

    Attributes:
        prefix_cache: Whether prompts that begin alike share the KV cache of what is alike, for
            clients that trust one another (docs/decisions/0008).
    """

    prefix_cache: bool = False


class _Asked(NamedTuple):
    """A request as the pipeline takes it.

    Attributes:
        prompt: With a tag for each picture; empty where the prompt is embedded beside it.
        images: For the pipeline; likewise.
        prepared: What is embedded beside it.
        usage: The prompt's tokens.
        room: Tokens that are left for the answer, at least 1.
    """

    prompt: str
    images: list[ov.Tensor]
    prepared: Prepared | None
    usage: Usage
    room: int


class OpenVinoEngine(Engine):
    """Serves one model on the CPU."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the model's files; the model is loaded by `start`.

        Raises:
            ConfigError: There is no model, it cannot be served, or an option is wrong.
        """
        self._options = options
        self._own = read_extra(options.extra, OpenVinoOptions, NAME)
        self._served = read_served(options)
        self._stepper: Stepper | None = None
        self._preparing = RequestPreparer("openvino-prepare")
        self._embedder: Embedder | None = None
        self._embeddings: EmbeddingQueue | None = None

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        return self._served.info

    @property
    def embedder(self) -> Embedder | None:
        """What embeds prompts beside the pipeline, once started; None where the pipeline does."""
        return self._embedder

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        # Not in this thread: the plug-in takes the signal stack of the one that loads it, and a
        # signal to the main thread kills the process once that memory is unmapped.
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
        if self._embedder is None:  # pictures are scaled
            asked = await self._preparing.run(self._asked, request, deadline)
        else:  # the tokenizer holds the interpreter's lock: a thread would free nothing
            asked = self._asked(request)
        job = self._job(request, asked, text)
        if self._embeddings is not None and asked.prepared is not None:
            embedding = self._embeddings.embed(asked.prepared)
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

    async def token_ids(self, request: Request) -> list[int]:
        """The tokens of an answer, its end token included; for whoever compares engines.

        Raises:
            SilklineError: What `generate` raises.
        """
        text = _Recorded(self._tokenizer.decode, request.sampling.stop)
        async for _ in self._answer(request, text):
            pass
        return text.ids

    def prepared(self, request: Request) -> Prepared | None:
        """A request's prompt as it is embedded beside the pipeline; None where it is not.

        Raises:
            InvalidRequest: The model cannot take it.
        """
        return self._asked(request).prepared

    def as_pipeline_takes(self, request: Request) -> tuple[str, list[ov.Tensor]]:
        """A request's prompt, with a tag for each picture, and its pictures; for its prober.

        Raises:
            InvalidRequest: The messages point at other pictures than there are.
        """
        rule, steps = self._served.rule, self._served.preprocessing
        prompt = self._prompts.for_pipeline(request.messages, len(request.images))
        return prompt, [_tensor(scaled(image, rule, steps)) for image in request.images]

    async def prober(self) -> Prober:
        """See `silkline.engines.probe.Probed`."""
        from silkline.engines.openvino.probe import open_prober  # noqa: PLC0415 - heavy, rare

        return await asyncio.to_thread(open_prober, self, self._served.weights)

    def load_pipeline(self, weights: Path) -> genai.ContinuousBatchingPipeline:
        """Loads a model as this engine's own, for it and for its prober."""
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
        if not Embedder.takes(self._served):
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

    def _asked(self, request: Request) -> _Asked:
        """Checks a request, writes its prompt and counts its tokens; in any thread.

        The tokenizer's calls hold the interpreter's lock, so that there is only one at a time.
        """
        messages, images = request.messages, request.images
        each = [self._served.image_tokens(image.width, image.height) for image in images]
        prompt, prepared = "", None
        tensors: list[ov.Tensor] = []
        if self._embedder is None:
            prompt, tensors = self.as_pipeline_takes(request)
            tokens = self._prompts.text_tokens(prompt) + sum(each)
        else:
            ids = self._prompts.ids(messages, len(images))
            prepared = self._embedder.prepare(ids, images, each)
            tokens = len(prepared.ids)
        room = answer_room(tokens, self._served.max_tokens)
        return _Asked(prompt, tensors, prepared, Usage(tokens, 0, sum(each)), room)

    def _job(self, request: Request, asked: _Asked, text: TextStream) -> Job:
        maximum = min(request.sampling.max_tokens, asked.room)
        sampling = replace(request.sampling, max_tokens=maximum)
        return Job(
            id=request.id,
            prompt=asked.prompt,
            images=asked.images,
            config=self._config(sampling),
            text=text,
            usage=asked.usage,
            incremental=request.stream or bool(sampling.stop),
        )

    def _config(self, sampling: Sampling) -> genai.GenerationConfig:
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
        return config


class _Recorded(TextStream):
    """Keeps the tokens of a text."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        super().__init__(decode, stop)
        self.ids: list[int] = []

    def push(self, ids: Sequence[int]) -> str:
        """See `TextStream`."""
        self.ids += ids
        return super().push(ids)


def _tensor(image: Image) -> ov.Tensor:
    pixels = np.frombuffer(image.pixels, np.uint8)
    return ov.Tensor(pixels.reshape(1, image.height, image.width, 3))
