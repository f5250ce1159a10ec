"""Embeds prompts of LLaVA layouts: runs the vision tower on several images at once.

OpenVINO GenAI encodes images one by one, in the stepping thread, with its own resize, and adds a
line break after each. Its pipeline also accepts an embedded prompt
(`add_request(id, inputs_embeds, config)`). So this module builds the prompt as transformers does:
by the model's own chat template, with the same pixels and tokens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from silkline.core import Image
from silkline.engines.openvino.failures import IMAGE_ERRORS, refusal
from silkline.engines.openvino.images import ClipPreprocessor, Pixels
from silkline.engines.openvino.served import BLOCK_TOKENS, Served
from silkline.engines.openvino.tags import tag
from silkline.engines.prefix_keys import PromptContent, PromptImage, block_keys
from silkline.errors import ConfigError, InternalFault, InvalidRequest, SilklineError
from silkline.models.weights import VISION_TOWER
from silkline.stores.lru import Lru

logger = logging.getLogger("silkline.engines.openvino")

Ids = NDArray[np.int64]
Embeddings = NDArray[np.float32]

_MODEL_TYPES = frozenset({"llava"})
"""Families whose image features replace image tokens in the prompt, with consecutive positions."""

_MAX_IMAGES = 4
"""Maximum images per run of the vision tower; more gained nothing on two cores."""

_TEXT = "openvino_text_embeddings_model.xml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request's prompt, ready to be embedded.

    Attributes:
        ids: Its tokens, shape (tokens,), with one image token for each image feature.
        images: Its images, in order.
        scope: The scope of its request; see `Request.reuse_scope`.
        keys: The keys of its first blocks, those that may be reused.
        rest: The key of the tokens behind them; empty if nothing of the prompt may be reused.
    """

    ids: Ids
    images: tuple[Image, ...]
    scope: bytes | None = None
    keys: tuple[bytes, ...] = ()
    rest: bytes = b""


class Embedder:
    """Computes the embeddings of prompts."""

    def __init__(
        self,
        served: Served,
        properties: dict[str, Any],
        *,
        feature_cache_bytes: int = 0,
        reusable_tokens: int = 0,
    ) -> None:
        """Loads the vision tower and the token embeddings.

        Args:
            served: The model, which must be one that `supports` accepts.
            properties: Properties for OpenVINO's CPU plug-in.
            feature_cache_bytes: Size of the cache of image features.
            reusable_tokens: Maximum length of prompts whose prefixes may be reused.
        """
        if served.preprocessing is None:
            raise ValueError("the model's preprocessing is not known")
        core = ov.Core()
        self._vision = core.compile_model(served.weights / VISION_TOWER, "CPU", properties)
        self._text = core.compile_model(served.weights / _TEXT, "CPU", properties)
        self._preprocessor = ClipPreprocessor(served.preprocessing)
        self._image_id = served.image_token or 0
        self._features = Lru[_ImageKey, Embeddings](feature_cache_bytes)
        self._reusable_tokens = reusable_tokens
        self._needs_prompt = served.pruning is not None and served.pruning.method.needs_prompt
        self._check_tokens(served)

    @staticmethod
    def supports(served: Served) -> bool:
        """Whether this class can embed the model's prompts; otherwise the pipeline does."""
        return (
            served.model_type in _MODEL_TYPES
            and served.rule is not None
            and served.image_token is not None
            and (served.weights / _TEXT).is_file()
            and ClipPreprocessor.supported(served.preprocessing)
        )

    def _check_tokens(self, served: Served) -> None:
        """Checks that the tower's graph returns as many tokens as the files say.

        Raises:
            ConfigError: It does not.
        """
        found, edge = self._vision.output(0).get_partial_shape()[1], 1  # all sizes have as many
        expected = served.image_tokens(edge, edge)
        if found.is_static and found.get_length() != expected:
            raise ConfigError(
                f"The vision tower returns {found.get_length()} tokens of an image, but the files "
                f"beside it say {expected}. Export or optimise the model again."
            )

    def prepare(
        self,
        ids: Ids,
        images: Sequence[Image],
        tokens: Sequence[int],
        scope: bytes | None = None,
    ) -> Prepared:
        """Checks the images and expands the image tokens.

        Args:
            ids: The prompt's tokens, with one image token per image.
            images: The images.
            tokens: Number of features of each image.
            scope: The scope of the request; see `Request.reuse_scope`.

        Raises:
            InvalidRequest: The numbers of image tokens and images differ, or an image is too long
                and narrow.
        """
        for image in images:
            self._preprocessor.check(image)
        if self._needs_prompt:
            scope = None  # an image's features depend on the text around it
        expanded = _expand(ids, self._image_id, tokens)
        if scope is None or not 0 < len(expanded) <= self._reusable_tokens:
            return Prepared(expanded, tuple(images), scope)
        shown = [
            PromptImage(image.digest.encode(), count)
            for image, count in zip(images, tokens, strict=True)
        ]
        content = PromptContent(expanded, self._image_id, shown)
        # The last token is always computed, so its block is not reused.
        keys = block_keys(content, scope, BLOCK_TOKENS)[: (len(expanded) - 1) // BLOCK_TOKENS]
        (whole,) = block_keys(content, scope, len(expanded))
        return Prepared(expanded, tuple(images), scope, keys, whole)

    def pixels(self, prepared: Prepared) -> Pixels:
        """The vision tower's input for a request, shape (images, 3, height, width)."""
        return self._preprocessor.pixels(prepared.images)

    def embed(self, prompts: Sequence[Prepared]) -> list[Embeddings]:
        """Each prompt's embeddings, shape (1, tokens, width).

        Raises:
            RuntimeError: OpenVINO failed.
        """
        embedded: list[Embeddings] = [self._text(each.ids[None])[0].copy() for each in prompts]
        features = self._encoded(prompts, embedded)
        for prepared, embeddings in zip(prompts, embedded, strict=True):
            if prepared.images:
                rows = [features[_key(prepared, image)] for image in prepared.images]
                embeddings[0, prepared.ids == self._image_id] = np.concatenate(rows)
        return embedded

    def _encoded(
        self, prompts: Sequence[Prepared], embedded: Sequence[Embeddings]
    ) -> dict[_ImageKey, Embeddings]:
        """The features of all images, from the cache where they are there."""
        images = {_key(prepared, image): image for prepared in prompts for image in prepared.images}
        kept = {key: self._features.get(key) for key in images}
        features = {key: rows for key, rows in kept.items() if rows is not None}
        missing = [key for key in images if key not in features]
        queries = self._queries(prompts, embedded) if self._needs_prompt else {}
        for start in range(0, len(missing), _MAX_IMAGES):
            keys = missing[start : start + _MAX_IMAGES]
            inputs = [self._preprocessor.pixels([images[key] for key in keys])]
            if queries:
                inputs.append(np.array([queries[key] for key in keys], np.float32))
            for key, rows in zip(keys, self._vision(inputs)[0], strict=True):
                features[key] = rows.copy()
                if key.scope is not None and rows.nbytes <= self._features.capacity_bytes:
                    self._features.put(key, features[key], rows.nbytes)
        return features

    def _queries(
        self, prompts: Sequence[Prepared], embedded: Sequence[Embeddings]
    ) -> dict[_ImageKey, Embeddings]:
        """For each image, the mean direction of its prompt's text, shape (width,)."""
        queries: dict[_ImageKey, Embeddings] = {}
        for prepared, embeddings in zip(prompts, embedded, strict=True):
            text = embeddings[0, prepared.ids != self._image_id]
            lengths = np.linalg.norm(text, axis=1, keepdims=True)
            mean = (text / np.maximum(lengths, 1e-12)).mean(0)
            queries |= {_key(prepared, image): mean for image in prepared.images}
        return queries


class _ImageKey(NamedTuple):
    """An image within its scope, or within its request if that has no scope."""

    scope: bytes | None
    request: int | None
    digest: str


def _key(prepared: Prepared, image: Image) -> _ImageKey:
    own = id(prepared) if prepared.scope is None else None
    return _ImageKey(prepared.scope, own, image.digest)


class _Waiting(NamedTuple):
    """A prompt in the queue."""

    prepared: Prepared
    answer: asyncio.Future[Embedded]


class Embedded(NamedTuple):
    """An embedded prompt.

    Attributes:
        tensor: The embeddings, float32 of shape (1, tokens, width).
        seconds: The time to embed its batch.
    """

    tensor: ov.Tensor
    seconds: float


class EmbeddingQueue:
    """Embeds queued prompts in batches, outside the stepping thread."""

    def __init__(self, embedder: Embedder, *, tags: bool = False) -> None:
        """Creates an empty queue; `tags` tags embeddings for the pipeline's prefix cache."""
        self._embedder = embedder
        self._tags = tags
        self._waiting: deque[_Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        """Number of prompts that are queued or being embedded."""
        return self._count

    async def embed(self, prepared: Prepared) -> Embedded:
        """Embeds a prompt; one that is cancelled in the queue is skipped.

        Raises:
            InvalidRequest: OpenVINO cannot process these images.
            Overloaded: There was not enough memory for them.
            InternalFault: The engine was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        waiting = _Waiting(prepared, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="openvino-embeddings")
        self._count += 1
        try:
            return await waiting.answer
        finally:
            self._count -= 1

    async def aclose(self) -> None:
        """Fails the queued prompts, and waits for those that are being embedded."""
        self._closed = True
        while self._waiting:
            _fail([self._waiting.popleft()], _closed())
        if self._work is not None:
            await self._work

    async def _run(self) -> None:
        try:
            while batch := self._next():
                try:
                    await self._answer(batch)
                except Exception:
                    logger.exception("prompts could not be embedded")
                    _fail(batch, InternalFault("The prompt could not be embedded."))
        finally:
            self._work = None

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        began = time.perf_counter()
        results = await self._embed([waiting.prepared for waiting in batch])
        seconds = time.perf_counter() - began
        if not isinstance(results, SilklineError):
            for waiting, tensor in zip(batch, results, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(Embedded(tensor, seconds))
        elif len(batch) == 1:
            _fail(batch, results)
        else:  # one by one, so that one bad prompt does not fail the others
            for waiting in batch:
                if not waiting.answer.done():
                    await self._answer([waiting])

    async def _embed(self, prompts: Sequence[Prepared]) -> list[ov.Tensor] | SilklineError:
        """The embeddings, or the error for a request if its prompt is the only one.

        Returns the error instead of raising it: its traceback would keep the vision tower's output
        alive.
        """
        try:
            return await asyncio.to_thread(self._tensors, prompts)
        except IMAGE_ERRORS as error:
            if len(prompts) == 1:
                logger.exception("images could not be encoded")
            return refusal(error, "The model cannot process these images. Send other ones.")

    def _tensors(self, prompts: Sequence[Prepared]) -> list[ov.Tensor]:
        embedded = self._embedder.embed(prompts)
        if self._tags:
            for prepared, embeddings in zip(prompts, embedded, strict=True):
                tag(embeddings, prepared.keys, prepared.rest)
        return [ov.Tensor(embeddings) for embeddings in embedded]

    def _next(self) -> list[_Waiting]:
        """The next batch: prompts with about `_MAX_IMAGES` images together."""
        batch: list[_Waiting] = []
        images = 0
        while self._waiting and (not batch or images < _MAX_IMAGES):
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                images += len(waiting.prepared.images)
        return batch


def _expand(ids: Ids, image_id: int, tokens: Sequence[int]) -> Ids:
    """Repeats each image token once for each feature of its image.

    Args:
        ids: The prompt's tokens, with one image token per image.
        image_id: The image token.
        tokens: Number of features of each image, in order.

    Raises:
        InvalidRequest: The chat template wrote a different number of image tokens.
    """
    indices = np.flatnonzero(ids == image_id)
    if len(indices) != len(tokens):
        raise InvalidRequest(
            f"The model's chat template shows {len(indices)} of the {len(tokens)} images. Put "
            "images into the user's messages.",
            param="messages",
        )
    times = np.ones(len(ids), np.int64)
    times[indices] = tokens
    return np.repeat(ids, times)


def _fail(batch: Sequence[_Waiting], error: SilklineError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _closed() -> SilklineError:
    return InternalFault("The engine was closed.")
