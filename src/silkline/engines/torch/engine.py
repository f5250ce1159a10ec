"""The engine contract over packed batches of a transformers model.

The asyncio side prepares prompts, in threads of their own, and hands out deltas; one thread (see
`engines.stepper`) runs the model.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from silkline.core import Delta, Request, Sampling, Usage
from silkline.engines.base import Engine, EngineInfo, EngineOptions, Health
from silkline.engines.extra import read_extra
from silkline.engines.probe import Prober
from silkline.engines.stepper import Stepper, next_delta
from silkline.engines.text import TextStream
from silkline.engines.torch.families.base import Family, Prompt
from silkline.engines.torch.job import Job
from silkline.engines.torch.loaded import Loaded, load
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.sampling import SEED_BITS
from silkline.errors import ConfigError, DeadlineExceeded, InvalidRequest
from silkline.models.bundle import MANIFEST, Bundle, load_bundle

NAME = "torch"

_PREPARING_THREADS = 2
"""Prompts that are prepared at once: the batch stays full, and keeps most of the cores."""


@dataclass(frozen=True, slots=True)
class _Open:
    """What an engine has between its start and its end.

    Attributes:
        loaded: The model.
        stepper: The thread that runs it.
        threads: Those that prepare prompts.
    """

    loaded: Loaded
    stepper: Stepper[Job]
    threads: ThreadPoolExecutor


class TorchEngine(Engine):
    """Serves one model."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the options; the model is loaded by `start`.

        Raises:
            ConfigError: There is no model folder, its manifest has no weights for this engine, or
                an option is wrong.
        """
        if options.model is None:
            raise ConfigError("The torch engine needs a model: give its folder.")
        self._options = options
        self._own = read_extra(options.extra, TorchOptions, NAME)
        bundled = (options.model / MANIFEST).is_file()
        self._bundle = load_bundle(options.model) if bundled else None
        self._folder = self._bundle.weights(NAME) if self._bundle else options.model
        self._info: EngineInfo | None = None
        self._open: _Open | None = None
        self._preparing = 0

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        if self._info is None:
            raise RuntimeError("the engine has not started")
        return self._info

    @property
    def family(self) -> Family:
        """The loaded model, for those who look into its preprocessing."""
        return self._opened().loaded.family

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        loaded = await asyncio.to_thread(self._load)
        self._info = _info(self._options, self._bundle, self._folder, loaded)
        stepper = Stepper(loaded.batch, loop, max_batch=self._options.max_batch, name="torch-step")
        threads = ThreadPoolExecutor(_PREPARING_THREADS, "torch-prepare")
        self._open = _Open(loaded, stepper, threads)
        stepper.start()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        opened = self._opened()
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        job = await self._prepare(opened, request, deadline)
        async with aclosing(_deltas(opened.stepper, job, deadline)) as deltas:
            async for delta in deltas:
                yield delta

    async def first_logits(self, request: Request) -> torch.Tensor:
        """The logits of an answer's first token, float32 `[vocabulary]` on the CPU.

        They are those that `generate` would choose from, computed by the same steps.

        Raises:
            SilklineError: What `generate` raises.
        """
        opened = self._opened()
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        asked = replace(request, sampling=Sampling(max_tokens=1))
        job = await self._prepare(opened, asked, deadline)
        job.keeps_logits = True
        async with aclosing(_deltas(opened.stepper, job, deadline)) as deltas:
            async for _ in deltas:
                continue
        if job.first_logits is None:
            raise RuntimeError("a request ended without a token")
        return job.first_logits

    async def prober(self) -> Prober:
        """See `silkline.engines.probe.Probed`."""
        from silkline.engines.torch.probe import TorchProber  # noqa: PLC0415 - rarely needed

        return TorchProber(self)

    def health(self) -> Health:
        """See `Engine`."""
        health = self._opened().stepper.health()
        return replace(health, queued=health.queued + self._preparing)

    async def failed(self) -> None:
        """See `Engine`."""
        await self._opened().stepper.failed.wait()

    async def aclose(self) -> None:
        """See `Engine`."""
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.to_thread(opened.stepper.close)
            opened.threads.shutdown(wait=False)

    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the engine has not started, or was closed")
        return self._open

    def _load(self) -> Loaded:
        return load(
            self._folder,
            self._own,
            max_batch=self._options.max_batch,
            kv_cache_bytes=self._options.kv_cache_bytes,
            threads=self._options.threads,
        )

    async def _prepare(self, opened: _Open, request: Request, deadline: float) -> Job:
        """Makes the request's prompt, in a thread, as pictures take their time, and checks it."""
        prepare = opened.loaded.family.prepare
        self._preparing += 1
        try:
            async with asyncio.timeout_at(deadline):
                prompt = await asyncio.get_running_loop().run_in_executor(
                    opened.threads, prepare, request.messages, request.images
                )
        except TimeoutError:
            raise DeadlineExceeded(
                "The request's time was over before its prompt was prepared."
            ) from None
        finally:
            self._preparing -= 1
        return _job(opened.loaded, request, prompt)


async def _deltas(stepper: Stepper[Job], job: Job, deadline: float) -> AsyncGenerator[Delta, None]:
    """Runs a request; it frees its slot whenever the reader goes."""
    stepper.submit(job)
    try:
        while True:
            delta = await next_delta(job, deadline)
            yield delta
            if delta.finish_reason is not None:
                return
    finally:
        stepper.cancel(job)


def _job(loaded: Loaded, request: Request, prompt: Prompt) -> Job:
    """Checks a request and makes all that the stepping thread needs for it."""
    prompt_tokens = len(prompt.ids)
    room = loaded.most_tokens - prompt_tokens
    if room < 1:
        raise InvalidRequest(
            f"The prompt has {prompt_tokens} tokens with its pictures, but prompt and answer "
            f"together may have {loaded.most_tokens}. Shorten it or send fewer pictures.",
            param="messages",
        )
    sampling = replace(request.sampling, max_tokens=min(request.sampling.max_tokens, room))
    image_tokens = sum(picture.tokens for picture in prompt.pictures)
    return Job(
        id=request.id,
        text=TextStream(loaded.family.decode, sampling.stop),
        usage=Usage(prompt_tokens, 0, image_tokens),
        incremental=request.stream or bool(sampling.stop),
        prompt=prompt,
        sampling=sampling,
        seed=secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed,
    )


def _info(
    options: EngineOptions, bundle: Bundle | None, folder: Path, loaded: Loaded
) -> EngineInfo:
    """What the engine is: by its manifest where there is one, else by the options."""
    name = options.name or (bundle.manifest.name if bundle else folder.resolve().name)
    revision = options.revision or (bundle.manifest.revision if bundle else "0")
    return EngineInfo(
        engine=NAME,
        model=name,
        revision=revision,
        precision=str(loaded.dtype).removeprefix("torch."),
        context_length=loaded.family.context_length,
        image_tokens=loaded.family.image_tokens,
        pixel_budget=loaded.family.pixel_budget,
        pixels_per_token=loaded.family.pixels_per_token,
    )
