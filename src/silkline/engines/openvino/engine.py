"""An engine on OpenVINO GenAI's continuous-batching pipeline.

The event loop has prompts prepared in worker threads and yields the deltas; one thread (see
`stepper`) runs the pipeline. Images of LLaVA layouts are encoded outside the pipeline (see
`embedding`), those of other families by the pipeline.
https://docs.openvino.ai, `openvino_genai.ContinuousBatchingPipeline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import openvino as ov
import openvino_genai as genai

from silkline.core import Constraint, Delta, EngineInfo, Feature, Health, Image, Request, Usage
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.chat.call_grammar import constraint_in_time
from silkline.engines.chat.parts import AnswerForm, AnswerParts, call_ids
from silkline.engines.deadline import in_time
from silkline.engines.extra_options import read_extra
from silkline.engines.grammar import CompiledConstraints, ebnf, grammar_of
from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.embedding import Embedder, EmbeddingQueue, Prepared
from silkline.engines.openvino.generation import generation_config
from silkline.engines.openvino.grammar_compiler import CheckedGrammar
from silkline.engines.openvino.grammar_trial import GrammarTrial
from silkline.engines.openvino.images import scaled
from silkline.engines.openvino.ledger import BlockLedger
from silkline.engines.openvino.prompt import Prompts
from silkline.engines.openvino.served import NAME, KvPrecision, read_served
from silkline.engines.openvino.stepper import Job, Stepper
from silkline.engines.prepare_requests import RequestPreparer
from silkline.engines.probe import Prober
from silkline.engines.sampling import answer_room
from silkline.engines.text_stream import TextStream
from silkline.engines.threads import choose_threads
from silkline.engines.token_bytes import read_token_bytes
from silkline.engines.tokenized import tokenized
from silkline.errors import ConfigError, InvalidRequest

_STEP_TOKENS = 2048
"""Maximum tokens of a step, so that several images' prompts fit; the default fits only three."""

_GROUP = 64
"""Number of activations that share a scale in products with INT8 weights. The plug-in's default of
32 took 8% more CPU time at 230 million parameters; no answer of the bundled model differed."""


class OpenVinoOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The options in `EngineOptions.extra` of this engine.

    Attributes:
        reuse: Whether prompts reuse the keys and values of a prefix that was computed before, and
            the features of images, for models whose prompts are embedded outside the pipeline; see
            docs/reuse.md.
        feature_cache_bytes: Size of the cache of image features.
        kv_precision: Precision of the KV cache; None means the bundle's, or u8 without a bundle.
    """

    reuse: bool = True
    feature_cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 32 * 1024 * 1024
    kv_precision: KvPrecision | None = None


class _PreparedRequest(NamedTuple):
    """A request, prepared for the pipeline.

    Attributes:
        prompt: The prompt, with a tag for each image; empty if it is embedded outside the pipeline.
        images: The images; empty likewise.
        prepared: The prompt to embed outside the pipeline; None if the pipeline does that.
        usage: The prompt's tokens.
        room: Maximum tokens of the answer, at least 1.
        form: What may be in the answer.
    """

    prompt: str
    images: list[ov.Tensor]
    prepared: Prepared | None
    usage: Usage
    room: int
    form: AnswerForm


class OpenVinoEngine(Engine):
    """Serves one model on the CPU with OpenVINO."""

    def __init__(self, options: EngineOptions) -> None:
        """Reads the model's metadata; `start` loads the model.

        Raises:
            ConfigError: The model is missing or cannot be served, or an option is wrong.
        """
        self._options = options
        self._own = read_extra(options.extra, OpenVinoOptions, NAME)
        self._served = read_served(options, self._own.kv_precision)
        self._features: frozenset[Feature] = frozenset()
        self._stepper: Stepper | None = None
        self._preparing = RequestPreparer("openvino-prepare")
        self._embedder: Embedder | None = None
        self._embeddings: EmbeddingQueue | None = None
        self._trial = GrammarTrial(self._served.weights)
        self._grammars = CompiledConstraints(self._checked, "openvino-grammar")

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        info = self._served.info
        return replace(info, features=info.features | self._features)

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
        self._embeddings = None
        if self._embedder is not None:
            self._embeddings = EmbeddingQueue(self._embedder, tags=self._reuses)
        self._tokenizer = pipeline.get_tokenizer()
        self._token_bytes = await asyncio.to_thread(
            read_token_bytes, self._served.weights, self._served.folder
        )
        self._defaults = pipeline.get_config()
        self._prompts = Prompts(self._served, self._tokenizer)
        chat = self._prompts.pipelines if self._embedder is None else self._prompts.own
        self._features = chat.format.features | {Feature.RAW}
        if self._embedder is not None:  # the pipeline does not tell the tokens of images
            self._features |= {Feature.TOKENIZE}
        ledger = BlockLedger(self._served.kv_blocks, _STEP_TOKENS) if self._reuses else None
        self._stepper = Stepper(pipeline, loop, max_batch=self._options.max_batch, ledger=ledger)
        self._stepper.start()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        if not request.sampling.max_tokens:
            yield self._tokenized(request)
            return
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        job = await self._prepared_job(request, deadline)
        async with aclosing(self._started().answer(job, deadline)) as deltas:
            async for delta in deltas:
                yield delta

    async def _prepared_job(self, request: Request, deadline: float) -> Job:
        self._started()
        if self._embedder is None:  # scaling images is slow
            ready = await self._preparing.run(self._prepare, request, deadline)
        else:  # the tokenizer holds the GIL, so a thread would gain nothing
            ready = self._prepare(request)
        grammar = None
        constraint = await constraint_in_time(ready.form, request.sampling.constraint, deadline)
        if constraint is not None:
            if constraint not in self._grammars:
                trial = asyncio.to_thread(self._trial.start)
                await in_time(trial, deadline, until="its form could be checked")
            grammar = await self._grammars.get(constraint, deadline)
        job = self._job(request, ready, grammar)
        if self._embeddings is not None and ready.prepared is not None:
            embedding = self._embeddings.embed(ready.prepared)
            embedded = await in_time(embedding, deadline, until="its answer was whole")
            job.embeddings, job.encoding = embedded
        return job

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
            await asyncio.to_thread(self._trial.close)

    async def token_ids(self, request: Request) -> list[int]:
        """The tokens of an answer, including its end token; for comparing engines.

        Raises:
            SilklineError: What `generate` raises.
        """
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        job = await self._prepared_job(request, deadline)
        async with aclosing(self._started().answer(job, deadline)) as deltas:
            async for _ in deltas:
                pass
        return job.generated

    def prepared(self, request: Request) -> Prepared | None:
        """A request's prompt before it is embedded; None if the pipeline embeds it.

        Raises:
            InvalidRequest: The model does not accept it.
        """
        return self._prepare(request).prepared

    def pipeline_inputs(self, request: Request) -> tuple[str, list[ov.Tensor], AnswerForm]:
        """The pipeline's inputs: the prompt, with a tag for each image, and the scaled images.

        Returns:
            Prompt and images, and what may be in the answer.

        Raises:
            InvalidRequest: The messages do not show each image once, in order, or the chat template
                refuses them.
        """
        rule, steps = self._served.rule, self._served.preprocessing
        prompt, form = self._prompts.for_pipeline(request)
        return prompt, [_tensor(scaled(image, rule, steps)) for image in request.images], form

    async def prober(self) -> Prober:
        """See `silkline.engines.probe.Probed`."""
        from silkline.engines.openvino.probe import open_prober  # noqa: PLC0415 - heavy, rare

        return await asyncio.to_thread(open_prober, self, self._served.weights)

    def load_pipeline(self, weights: Path) -> genai.ContinuousBatchingPipeline:
        """Loads the pipeline with the engine's settings; also for the prober."""
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = self._served.kv_blocks
        scheduler.max_num_seqs = self._options.max_batch
        # With a next token for each request, so that these never cut a prompt (see `ledger`).
        scheduler.max_num_batched_tokens = _STEP_TOKENS + self._options.max_batch
        scheduler.enable_prefix_caching = self._reuses
        properties = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP, **self._properties()}
        if self._served.kv_precision is not None:
            properties["KV_CACHE_PRECISION"] = self._served.kv_precision
        return genai.ContinuousBatchingPipeline(weights, scheduler, "CPU", properties)

    def _load_embedder(self) -> Embedder | None:
        if not Embedder.supports(self._served):
            if self._served.pruning is not None:
                raise ConfigError(
                    "Image tokens are pruned (bundle.json), which the engine openvino can do only "
                    "for LLaVA layouts. Serve the bundle that this one was optimised from."
                )
            return None
        kept = self._own.feature_cache_bytes if self._reuses else 0
        reusable = _STEP_TOKENS if self._reuses else 0
        return Embedder(
            self._served, self._properties(), feature_cache_bytes=kept, reusable_tokens=reusable
        )

    @property
    def _reuses(self) -> bool:
        """Whether prefixes are reused; not those of prompts that the pipeline embeds, untagged."""
        return self._own.reuse and Embedder.supports(self._served)

    def _properties(self) -> dict[str, Any]:
        properties = arithmetic()
        if threads := choose_threads(self._options.threads, self._served.weights_bytes):
            properties["INFERENCE_NUM_THREADS"] = threads
        return properties

    def _started(self) -> Stepper:
        if self._stepper is None:
            raise RuntimeError("the engine has not started, or was closed")
        return self._stepper

    def _tokenized(self, request: Request) -> Delta:
        if self._embedder is None:
            raise InvalidRequest("This model cannot tell the tokens of a prompt.")
        prepared, counts, _ = self._tokens(self._embedder, request)
        return tokenized(prepared.ids.tolist(), sum(counts))

    def _image_tokens(self, request: Request) -> list[int]:
        return [self._served.image_tokens(image.width, image.height) for image in request.images]

    def _tokens(
        self, embedder: Embedder, request: Request
    ) -> tuple[Prepared, list[int], AnswerForm]:
        """The prompt before it is embedded, each image's number of tokens, the answer's form."""
        counts = self._image_tokens(request)
        ids, form = self._prompts.ids(request)
        prepared = embedder.prepare(ids, request.images, counts, request.reuse_scope)
        return prepared, counts, form

    def _prepare(self, request: Request) -> _PreparedRequest:
        """Checks a request, formats its prompt and counts its tokens; thread-safe.

        The tokenizer's calls hold the GIL, so only one runs at a time.
        """
        prompt, prepared = "", None
        tensors: list[ov.Tensor] = []
        if self._embedder is None:
            counts = self._image_tokens(request)
            prompt, tensors, form = self.pipeline_inputs(request)
            tokens = self._prompts.text_tokens(prompt) + sum(counts)
        else:
            prepared, counts, form = self._tokens(self._embedder, request)
            tokens = len(prepared.ids)
        room = answer_room(tokens, self._served.max_tokens)
        usage = Usage(tokens, 0, sum(counts))
        return _PreparedRequest(prompt, tensors, prepared, usage, room, form)

    def _checked(self, constraint: Constraint) -> CheckedGrammar:
        """Returns a constraint as a grammar that the pipeline compiles in bounded time."""
        return self._trial.check(constraint.kind, ebnf.write(grammar_of(constraint)))

    def _job(
        self, request: Request, ready: _PreparedRequest, grammar: CheckedGrammar | None
    ) -> Job:
        decode = self._prompts.decoder(self._tokenizer.decode, ready.form)
        maximum = min(request.sampling.max_tokens, ready.room)
        sampling = replace(request.sampling, max_tokens=maximum)
        return Job(
            id=request.id,
            prompt=ready.prompt,
            images=ready.images,
            config=generation_config(sampling, self._defaults, grammar.text if grammar else ""),
            grammar=grammar,
            text=TextStream(decode, sampling.stop, include_stop=sampling.include_stop),
            parts=AnswerParts(ready.form, call_ids(request)),
            usage=ready.usage,
            keys=() if ready.prepared is None else ready.prepared.keys,
            incremental=request.stream
            or bool(sampling.stop)
            or sampling.logprobs is not None
            or not ready.form.is_plain,
            kept_ids=frozenset(sampling.stop_token_ids if sampling.include_stop else ()),
            token_bytes=None if sampling.logprobs is None else self._token_bytes,
        )


def _tensor(image: Image) -> ov.Tensor:
    pixels = np.frombuffer(image.pixels, np.uint8)
    return ov.Tensor(pixels.reshape(1, image.height, image.width, 3))
