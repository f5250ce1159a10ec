"""The engine contract over OpenVINO GenAI's continuous-batching pipeline.

The asyncio side prepares prompts and hands out deltas; one thread (see `stepper`) drives the
pipeline. https://docs.openvino.ai, `openvino_genai.ContinuousBatchingPipeline`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino as ov
import openvino_genai as genai

from silkline.core import Delta, Image, Request, Sampling, Usage
from silkline.engines.base import Engine, EngineInfo, EngineOptions, Health, PixelBudget
from silkline.engines.extra import read_extra
from silkline.engines.openvino.prompt import Prompter, reserved_tokens, without_pictures
from silkline.engines.openvino.stepper import Failed, Job, Stepper
from silkline.engines.text import TextStream
from silkline.errors import ConfigError, DeadlineExceeded, InvalidRequest
from silkline.models.bundle import Bundle, load_bundle

NAME = "openvino"
_STEP_TOKENS = 2048
"""Most tokens of a step: prompts of several pictures at once; the default holds but three."""

_BLOCK_TOKENS = 32
"""Tokens in a block of the CPU plug-in's paged KV cache."""

_SMALL_MODEL_BYTES = 64 * 1024 * 1024

_SEED_BITS = 64
"""The pipeline's seeds are numbers without a sign; a client's negative one is wrapped."""


class OpenVinoOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `EngineOptions.extra` may hold for this engine.

    Attributes:
        prefix_cache: Whether prompts that begin alike share the KV cache of what is alike, for
            clients that trust one another (docs/decisions/0008).
    """

    prefix_cache: bool = False


class OpenVinoEngine(Engine):
    """Serves one bundle on the CPU."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the bundle; the model is loaded by `start`.

        Raises:
            ConfigError: There is no model folder, it is no bundle, or an option is wrong.
        """
        if options.model is None:
            raise ConfigError("The OpenVINO engine needs a model: give the folder of a bundle.")
        self._options = options
        self._own = read_extra(options.extra, OpenVinoOptions, NAME)
        self._bundle = load_bundle(options.model)
        self._weights = self._bundle.weights(NAME)
        self._info = _info(self._bundle)
        self._kv_blocks = kv_blocks(self._weights, options.kv_cache_bytes)
        self._most_tokens = min(self._info.context_length, self._kv_blocks * _BLOCK_TOKENS)
        self._prompter = Prompter(reserved_tokens(self._weights, self._bundle.folder))
        self._stepper: Stepper | None = None

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        return self._info

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        pipeline = await asyncio.to_thread(self._load)
        self._tokenizer = pipeline.get_tokenizer()
        self._defaults = pipeline.get_config()
        self._stepper = Stepper(pipeline, loop, max_batch=self._options.max_batch)
        self._stepper.start()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        stepper = self._started()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_seconds
        job = self._job(request)
        stepper.submit(job)
        try:
            while True:
                delta = await _next_delta(job, deadline)
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            stepper.cancel(job)

    def health(self) -> Health:
        """See `Engine`."""
        return self._started().health()

    async def failed(self) -> None:
        """See `Engine`."""
        await self._started().failed.wait()

    async def aclose(self) -> None:
        """See `Engine`."""
        stepper, self._stepper = self._stepper, None
        if stepper is not None:
            await asyncio.to_thread(stepper.close)

    def _started(self) -> Stepper:
        if self._stepper is None:
            raise RuntimeError("the engine has not started, or was closed")
        return self._stepper

    def _load(self) -> genai.ContinuousBatchingPipeline:
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = self._kv_blocks
        scheduler.max_num_seqs = self._options.max_batch
        scheduler.max_num_batched_tokens = _STEP_TOKENS
        scheduler.enable_prefix_caching = self._own.prefix_cache
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        cores = len(os.sched_getaffinity(0))
        if threads := self._options.threads or usual_threads(self._weights, cores):
            properties["INFERENCE_NUM_THREADS"] = threads
        return genai.ContinuousBatchingPipeline(self._weights, scheduler, "CPU", properties)

    def _job(self, request: Request) -> Job:
        """Checks a request and prepares all that the stepping thread needs for it."""
        turns = self._prompter.turns(request.messages, len(request.images))
        prompt = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        text_ids = self._tokenizer.encode(without_pictures(prompt), add_special_tokens=False)
        image_tokens = self._info.image_tokens * len(request.images)
        prompt_tokens = text_ids.input_ids.shape[1] + image_tokens
        room = self._most_tokens - prompt_tokens
        if room < 1:
            raise InvalidRequest(
                f"The prompt has {prompt_tokens} tokens with its pictures, but prompt and answer "
                f"together may have {self._most_tokens}. Shorten it or send fewer pictures.",
                param="messages",
            )
        sampling = replace(request.sampling, max_tokens=min(request.sampling.max_tokens, room))
        text = TextStream(self._tokenizer.decode, sampling.stop)
        usage = Usage(prompt_tokens, 0, image_tokens)
        tensors = [_tensor(image) for image in request.images]
        incremental = request.stream or bool(sampling.stop)
        return Job(request.id, prompt, tensors, self._config(sampling), text, usage, incremental)

    def _config(self, sampling: Sampling) -> genai.GenerationConfig:
        config = genai.GenerationConfig()
        config.set_eos_token_id(self._defaults.eos_token_id)
        config.stop_token_ids = self._defaults.stop_token_ids
        config.apply_chat_template = False
        config.max_new_tokens = sampling.max_tokens
        config.do_sample = sampling.temperature > 0
        if config.do_sample:
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            # The pipeline's own default is the same number for every request.
            seed = secrets.randbits(_SEED_BITS) if sampling.seed is None else sampling.seed
            config.rng_seed = seed % (1 << _SEED_BITS)
        return config


async def _next_delta(job: Job, deadline: float) -> Delta:
    """Waits for what comes next, and takes along what has come meanwhile, as one delta."""
    try:
        async with asyncio.timeout_at(deadline):
            events = [await job.events.get()]
    except TimeoutError:
        raise DeadlineExceeded("The request's time was over before its answer was whole.") from None
    while not job.events.empty():
        events.append(job.events.get_nowait())
    deltas = []
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        deltas.append(event)
    return replace(deltas[-1], text="".join(delta.text for delta in deltas))


def kv_blocks(weights: Path, budget: int) -> int:
    """How many blocks of the KV cache fit into `budget` bytes, at least 8.

    A token takes a key and a value of `head_dim` bytes for each KV head of each layer, and a scale
    and a zero point (two 32-bit floats) for each of them: the CPU plug-in keeps them in 8 bits.
    """
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    text: dict[str, int] = config.get("text_config", config)
    heads = text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    token_bytes = 2 * text["num_hidden_layers"] * kv_heads * (head_dim + 8)
    return max(8, budget // (_BLOCK_TOKENS * token_bytes))


def usual_threads(weights: Path, cores: int) -> int:
    """Threads for a model when the options name none; 0 lets OpenVINO take all cores.

    A step of a small model is too short to gain much by sharing it, and the cores that it would
    take are those of the gateway and the decoders (docs/decisions/0012): it gets half of them.
    """
    size = sum(file.stat().st_size for file in weights.glob("*.bin"))
    return max(1, cores // 2) if size < _SMALL_MODEL_BYTES else 0


def _info(bundle: Bundle) -> EngineInfo:
    manifest = bundle.manifest
    return EngineInfo(
        engine=NAME,
        model=manifest.name,
        revision=manifest.revision,
        precision=manifest.engines[NAME].precision,
        context_length=manifest.context_length,
        image_tokens=manifest.image_tokens,
        pixel_budget=PixelBudget(shortest_edge=manifest.image_size),
    )


def _tensor(image: Image) -> ov.Tensor:
    pixels = np.frombuffer(image.pixels, np.uint8)
    return ov.Tensor(pixels.reshape(1, image.height, image.width, 3))
