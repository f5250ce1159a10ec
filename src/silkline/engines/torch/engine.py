"""Implements the engine contract over packed batches of a transformers model.

The asyncio side prepares prompts in threads and yields deltas; one thread (see `engines.stepper`)
runs the model.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from silkline.core import (
    Delta,
    EngineInfo,
    Feature,
    Health,
    LoraAdapter,
    Request,
    Sampling,
    Usage,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.chat.call_grammar import constraint_in_time
from silkline.engines.chat.parts import AnswerParts, call_ids
from silkline.engines.extra_options import read_extra
from silkline.engines.grammar import CONSTRAINT_FEATURES
from silkline.engines.prepare_requests import RequestPreparer
from silkline.engines.probe import Prober
from silkline.engines.processor import instruction_set
from silkline.engines.sampling import SAMPLING_FEATURES, answer_room, check_biases, seed_of
from silkline.engines.stepper import Stepper
from silkline.engines.text_stream import TextStream
from silkline.engines.tokenized import tokenized
from silkline.engines.torch.adapters import LoadedAdapter
from silkline.engines.torch.constraint import Matcher, Matchers
from silkline.engines.torch.families.base import Prompt, Served
from silkline.engines.torch.job import Job
from silkline.engines.torch.load_model import LoadedModel, PackedModel, load
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.prefixes import prompt_keys
from silkline.errors import ConfigError, InvalidRequest
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.compressed import read_compressed
from silkline.models.documents import CONFIG, read_document
from silkline.models.generation_config import read_sampling_defaults

NAME = "torch"

_ADAPTED = b"silkline.lora1"
"""Separates the scopes of adapters from all others."""


@dataclass(frozen=True, slots=True)
class _Open:
    """The state of an engine between start and close.

    Attributes:
        loaded: The model.
        stepper: The thread that runs it.
        preparer: Prepares prompts.
        matchers: Constrains answers; None if the model does not support that.
    """

    loaded: LoadedModel
    stepper: Stepper[Job]
    preparer: RequestPreparer
    matchers: Matchers | None


class TorchEngine(Engine):
    """Serves one model with torch and transformers."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the options; the model is loaded by `start`.

        Raises:
            ConfigError: No model folder is given, its manifest has no weights for this engine, or
                an option is invalid.
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

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        if self._info is None:
            raise RuntimeError("the engine has not started")
        return self._info

    @property
    def family(self) -> Served:
        """The loaded model, to inspect its preprocessing."""
        return self._opened().loaded.family

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        loaded = await asyncio.to_thread(self._load)
        matchers = loaded.family.matchers
        features = frozenset() if matchers is None else CONSTRAINT_FEATURES
        info = _info(self._options, self._bundle, self._folder, loaded)
        self._info = replace(info, features=info.features | features)
        stepper = Stepper(loaded.batch, loop, max_batch=self._options.max_batch, name="torch-step")
        self._open = _Open(loaded, stepper, RequestPreparer("torch-prepare"), matchers)
        stepper.start()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        opened = self._opened()
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        prompt, adapter = await _prepare(opened, request, deadline)
        if not request.sampling.max_tokens:
            yield tokenized(prompt.ids.tolist(), _image_tokens(prompt))
            return
        job = _job(opened.loaded, request, prompt)
        job.adapter = adapter
        if opened.matchers is not None:
            job.matcher = await _matcher(opened.matchers, request, prompt, deadline)
        async with aclosing(opened.stepper.answer(job, deadline)) as deltas:
            async for delta in deltas:
                yield delta

    async def first_logits(self, request: Request) -> torch.Tensor:
        """Returns the logits of an answer's first token, float32 `[vocabulary]` on the CPU.

        They are the logits that `generate` samples from, computed by the same steps.

        Raises:
            SilklineError: Any error that `generate` raises.
        """
        opened = self._opened()
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        one_token = replace(request, sampling=Sampling(max_tokens=1))
        prompt, adapter = await _prepare(opened, one_token, deadline)
        job = _job(opened.loaded, one_token, prompt)
        job.adapter = adapter
        job.keeps_logits = True
        async with aclosing(opened.stepper.answer(job, deadline)) as deltas:
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
        opened = self._opened()
        health = opened.stepper.health()
        return replace(health, queued=health.queued + len(opened.preparer))

    async def failed(self) -> None:
        """See `Engine`."""
        await self._opened().stepper.failed.wait()

    async def aclose(self) -> None:
        """See `Engine`."""
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.to_thread(opened.stepper.close)
            await asyncio.to_thread(opened.loaded.batch.close)
            opened.preparer.close()
            if opened.matchers is not None:
                opened.matchers.close()

    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the engine has not started, or was closed")
        return self._open

    def _load(self) -> LoadedModel:
        return load(
            self._folder,
            self._own,
            max_batch=self._options.max_batch,
            kv_cache_bytes=self._options.kv_cache_bytes,
            kv_cache_limit=self._options.kv_cache_limit,
            threads=self._options.threads,
            entry=self._bundle.manifest.engines[NAME] if self._bundle else None,
        )


async def _prepare(
    opened: _Open, request: Request, deadline: float
) -> tuple[Prompt, LoadedAdapter | None]:
    """Prepares the request's prompt, and loads its adapter."""
    loaded = opened.loaded

    def prepare(request: Request) -> tuple[Prompt, LoadedAdapter | None]:
        adapter = None if request.adapter is None else _adapter(loaded, request.adapter)
        prompt = loaded.family.prepare(request.messages, request.images, request.options)
        if not isinstance(loaded, PackedModel) or not loaded.batch.reuses_prefixes:
            return prompt, adapter
        keys = prompt_keys(prompt, loaded.family.image_token_id, _scope(request))
        return replace(prompt, keys=keys), adapter

    return await opened.preparer.run(prepare, request, deadline)


def _adapter(loaded: LoadedModel, adapter: LoraAdapter) -> LoadedAdapter:
    """Returns an adapter of a request, in memory."""
    if not isinstance(loaded, PackedModel):
        raise InvalidRequest(
            "The torch engine runs this model's family by its generic path, which has no adapters. "
            "Merge the adapter: silkline merge ADAPTER --out MERGED.",
            param="model",
        )
    try:
        return loaded.adapters.get(adapter)
    except ConfigError as error:
        raise InvalidRequest(
            f"The adapter cannot be used: {error.message}", param="model"
        ) from error


def _scope(request: Request) -> bytes | None:
    """The scope of a request's reuse; an adapter's keys, values and features are its own."""
    scope, adapter = request.reuse_scope, request.adapter
    if scope is None or adapter is None:
        return scope
    named = b"%d:%b%b" % (len(scope), scope, f"{adapter.folder}\0{adapter.revision}".encode())
    return hashlib.blake2b(named, digest_size=32, person=_ADAPTED).digest()


async def _matcher(
    matchers: Matchers, request: Request, prompt: Prompt, deadline: float
) -> Matcher | None:
    """Returns what constrains the request's answer; None if it may be any text."""
    constraint = await constraint_in_time(prompt.answer, request.sampling.constraint, deadline)
    return None if constraint is None else await matchers.get(constraint, deadline)


def _image_tokens(prompt: Prompt) -> int:
    return sum(image.tokens for image in prompt.images)


def _job(loaded: LoadedModel, request: Request, prompt: Prompt) -> Job:
    """Checks the prompt's length and creates the job for the stepper's thread.

    Raises:
        InvalidRequest: The prompt is too long, or a biased token does not exist.
    """
    prompt_tokens = len(prompt.ids)
    room = answer_room(prompt_tokens, loaded.max_tokens)
    sampling = replace(request.sampling, max_tokens=min(request.sampling.max_tokens, room))
    check_biases(sampling, loaded.family.vocabulary)
    return Job(
        id=request.id,
        text=TextStream(
            loaded.family.decoder(prompt.answer), sampling.stop, include_stop=sampling.include_stop
        ),
        parts=AnswerParts(prompt.answer, call_ids(request)),
        usage=Usage(prompt_tokens, 0, _image_tokens(prompt)),
        incremental=request.stream
        or bool(sampling.stop)
        or sampling.logprobs is not None
        or not prompt.answer.is_plain,
        prompt=prompt,
        sampling=sampling,
        seed=seed_of(sampling),
        scope=_scope(request),
    )


def _info(
    options: EngineOptions, bundle: Bundle | None, folder: Path, loaded: LoadedModel
) -> EngineInfo:
    """Describes the engine; the options take precedence over the bundle's manifest."""
    name = options.name or (bundle.manifest.name if bundle else folder.resolve().name)
    revision = options.revision or (bundle.manifest.revision if bundle else "0")
    compressed = read_compressed(read_document(folder / CONFIG, CONFIG))
    return EngineInfo(
        engine=NAME,
        model=name,
        revision=revision,
        precision=compressed.name if compressed else str(loaded.dtype).removeprefix("torch."),
        context_length=loaded.family.context_length,
        image_tokens=loaded.family.image_tokens,
        pixel_budget=loaded.family.pixel_budget,
        pixels_per_token=loaded.family.pixels_per_token,
        features=SAMPLING_FEATURES | loaded.family.features | {Feature.RAW, Feature.TOKENIZE},
        sampling_defaults=read_sampling_defaults(folder),
        instruction_set=None if loaded.device == "cuda" else instruction_set(),
        path=loaded.path,
    )
