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
from silkline.engines.openvino.served import Served
from silkline.errors import ConfigError, InternalFault, InvalidRequest, SilklineError

logger = logging.getLogger("silkline.engines.openvino")

Ids = NDArray[np.int64]
Embeddings = NDArray[np.float32]

_MODEL_TYPES = frozenset({"llava"})
"""Families whose image features replace image tokens in the prompt, with consecutive positions."""

_MAX_IMAGES = 4
"""Maximum images per run of the vision tower; more gained nothing on two cores."""

_VISION = "openvino_vision_embeddings_model.xml"
_TEXT = "openvino_text_embeddings_model.xml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request's prompt, ready to be embedded.

    Attributes:
        ids: Its tokens, shape (tokens,), with one image token for each image feature.
        images: Its images, in order.
    """

    ids: Ids
    images: tuple[Image, ...]


class Embedder:
    """Computes the embeddings of prompts."""

    def __init__(self, served: Served, properties: dict[str, Any]) -> None:
        """Loads the vision tower and the token embeddings.

        Args:
            served: The model, which must be one that `supports` accepts.
            properties: Properties for OpenVINO's CPU plug-in.
        """
        if served.preprocessing is None:
            raise ValueError("the model's preprocessing is not known")
        core = ov.Core()
        self._vision = core.compile_model(served.weights / _VISION, "CPU", properties)
        self._text = core.compile_model(served.weights / _TEXT, "CPU", properties)
        self._preprocessor = ClipPreprocessor(served.preprocessing)
        self._image_id = served.image_token or 0
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

    def prepare(self, ids: Ids, images: Sequence[Image], tokens: Sequence[int]) -> Prepared:
        """Checks the images and expands the image tokens.

        Args:
            ids: The prompt's tokens, with one image token per image.
            images: The images.
            tokens: Number of features of each image.

        Raises:
            InvalidRequest: The numbers of image tokens and images differ, or an image is too long
                and narrow.
        """
        for image in images:
            self._preprocessor.check(image)
        return Prepared(_expand(ids, self._image_id, tokens), tuple(images))

    def pixels(self, prepared: Prepared) -> Pixels:
        """The vision tower's input for a request, shape (images, 3, height, width)."""
        return self._preprocessor.pixels(prepared.images)

    def embed(self, prompts: Sequence[Prepared]) -> list[Embeddings]:
        """Each prompt's embeddings, shape (1, tokens, width).

        Raises:
            RuntimeError: OpenVINO failed.
        """
        embedded: list[Embeddings] = [self._text(each.ids[None])[0].copy() for each in prompts]
        images = [image for prepared in prompts for image in prepared.images]
        queries = self._queries(prompts, embedded) if self._needs_prompt else None
        features = deque[Embeddings]()
        for start in range(0, len(images), _MAX_IMAGES):
            part = slice(start, start + _MAX_IMAGES)
            inputs = [self._preprocessor.pixels(images[part])]
            features.extend(
                self._vision(inputs if queries is None else [*inputs, queries[part]])[0]
            )
        for prepared, embeddings in zip(prompts, embedded, strict=True):
            if prepared.images:
                own = [features.popleft() for _ in prepared.images]
                embeddings[0, prepared.ids == self._image_id] = np.concatenate(own)
        return embedded

    def _queries(self, prompts: Sequence[Prepared], embedded: Sequence[Embeddings]) -> Embeddings:
        """For each image, the mean direction of its prompt's text, shape (images, width)."""
        queries = []
        for prepared, embeddings in zip(prompts, embedded, strict=True):
            text = embeddings[0, prepared.ids != self._image_id]
            lengths = np.linalg.norm(text, axis=1, keepdims=True)
            queries += [(text / np.maximum(lengths, 1e-12)).mean(0)] * len(prepared.images)
        return np.array(queries, np.float32)


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

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
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
        return [ov.Tensor(embeddings) for embeddings in self._embedder.embed(prompts)]

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
