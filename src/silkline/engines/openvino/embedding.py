"""Prompts of LLaVA layouts as embeddings: the vision tower is run here, several pictures at once.

OpenVINO GenAI encodes one picture after the other, in the thread that steps, with a resize of its
own, and writes a line break after each. Its pipeline also takes a prompt that is embedded already
(`add_request(id, inputs_embeds, config)`), so here the prompt is made as transformers makes it: by
the model's own chat template, with its pixels and its tokens.
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
from silkline.engines.openvino.images import Eye, Pixels
from silkline.engines.openvino.served import Served
from silkline.errors import InternalFault, InvalidRequest, SilklineError

logger = logging.getLogger("silkline.engines.openvino")

Ids = NDArray[np.int64]
Embeddings = NDArray[np.float32]

_MODEL_TYPES = frozenset({"llava"})
"""Families whose features simply stand in the prompt, and whose positions count up."""

_AT_ONCE = 4
"""Pictures that the tower takes together; more gained nothing on two cores."""

_VISION = "openvino_vision_embeddings_model.xml"
_TEXT = "openvino_text_embeddings_model.xml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request's prompt.

    Attributes:
        ids: Its tokens, shape (tokens,); the image token in each place that a feature fills.
        images: Its pictures in order.
    """

    ids: Ids
    images: tuple[Image, ...]


class Embedder:
    """Turns prepared prompts into embeddings."""

    def __init__(self, served: Served, properties: dict[str, Any]) -> None:
        """Loads the vision tower and the token embeddings.

        Args:
            served: The model; one that `takes` says can be embedded here.
            properties: For OpenVINO's CPU plug-in.
        """
        if served.preprocessing is None:
            raise ValueError("the model's preprocessing is not known")
        core = ov.Core()
        self._vision = core.compile_model(served.weights / _VISION, "CPU", properties)
        self._text = core.compile_model(served.weights / _TEXT, "CPU", properties)
        self._eye = Eye(served.preprocessing)
        self._image_id = served.image_token or 0

    @staticmethod
    def takes(served: Served) -> bool:
        """Whether a model's prompts can be made here; others are left to the pipeline."""
        return (
            served.model_type in _MODEL_TYPES
            and served.rule is not None
            and served.image_token is not None
            and (served.weights / _TEXT).is_file()
            and Eye.sees(served.preprocessing)
        )

    def prepare(self, ids: Ids, images: Sequence[Image], tokens: Sequence[int]) -> Prepared:
        """Makes a prompt ready.

        Args:
            ids: Its tokens, one image token a picture.
            images: Its pictures.
            tokens: Features of each.

        Raises:
            InvalidRequest: Places and pictures do not agree, or a picture is an endless strip.
        """
        for image in images:
            self._eye.check(image)
        return Prepared(_expanded(ids, self._image_id, tokens), tuple(images))

    def pixels(self, prepared: Prepared) -> Pixels:
        """What the tower sees of a request: (pictures, 3, height, width)."""
        return self._eye.look(prepared.images)

    def embed(self, prompts: Sequence[Prepared]) -> list[Embeddings]:
        """Each prompt's embeddings, of shape (1, tokens, width).

        Raises:
            RuntimeError: OpenVINO failed.
        """
        images = [image for prepared in prompts for image in prepared.images]
        features = deque[Embeddings]()
        for start in range(0, len(images), _AT_ONCE):
            features.extend(self._vision(self._eye.look(images[start : start + _AT_ONCE]))[0])
        return [self._one(prepared, features) for prepared in prompts]

    def _one(self, prepared: Prepared, features: deque[Embeddings]) -> Embeddings:
        embeddings: Embeddings = self._text(prepared.ids[None])[0].copy()
        if prepared.images:
            own = [features.popleft() for _ in prepared.images]
            embeddings[0, prepared.ids == self._image_id] = np.concatenate(own)
        return embeddings


class _Asked(NamedTuple):
    """A prompt that waits."""

    prepared: Prepared
    answer: asyncio.Future[Embedded]


class Embedded(NamedTuple):
    """A prompt as the pipeline takes it.

    Attributes:
        tensor: Float32 of shape (1, tokens, width).
        seconds: How long it took, together with those that were taken along.
    """

    tensor: ov.Tensor
    seconds: float


class EmbeddingQueue:
    """Embeds what waits, several prompts at once, beside the thread that steps."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._waiting: deque[_Asked] = deque()
        self._work: asyncio.Task[None] | None = None
        self._inside = 0
        self._closed = False

    def __len__(self) -> int:
        """Prompts that are embedded, or wait for it."""
        return self._inside

    async def embed(self, prepared: Prepared) -> Embedded:
        """A prompt's embeddings; one that is cancelled before its turn costs nothing.

        Raises:
            InvalidRequest: OpenVINO cannot process these pictures.
            Overloaded: There was not enough memory for them.
            InternalFault: The engine was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        asked = _Asked(prepared, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="openvino-embeddings")
        self._inside += 1
        try:
            return await asked.answer
        finally:
            self._inside -= 1

    async def aclose(self) -> None:
        """Waits for what is being embedded; those that wait still fail."""
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

    async def _answer(self, batch: Sequence[_Asked]) -> None:
        began = time.perf_counter()
        results = await self._tried([asked.prepared for asked in batch])
        seconds = time.perf_counter() - began
        if not isinstance(results, SilklineError):
            for asked, tensor in zip(batch, results, strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(Embedded(tensor, seconds))
        elif len(batch) == 1:
            _fail(batch, results)
        else:  # each alone, so that one takes no other along
            for asked in batch:
                if not asked.answer.done():
                    await self._answer([asked])

    async def _tried(self, prompts: Sequence[Prepared]) -> list[ov.Tensor] | SilklineError:
        """Their embeddings, or what to tell a request whose prompt is the only one.

        The error, whose traceback holds what the vision tower had made, is let go of here.
        """
        try:
            return await asyncio.to_thread(self._tensors, prompts)
        except IMAGE_ERRORS as error:
            if len(prompts) == 1:
                logger.exception("pictures could not be encoded")
            return refusal(error, "The model cannot process these pictures as they stand.")

    def _tensors(self, prompts: Sequence[Prepared]) -> list[ov.Tensor]:
        return [ov.Tensor(embeddings) for embeddings in self._embedder.embed(prompts)]

    def _next(self) -> list[_Asked]:
        """Those that come next, up to the number of pictures that the tower takes together."""
        batch: list[_Asked] = []
        images = 0
        while self._waiting and (not batch or images < _AT_ONCE):
            asked = self._waiting.popleft()
            if not asked.answer.done():
                batch.append(asked)
                images += len(asked.prepared.images)
        return batch


def _expanded(ids: Ids, image_id: int, tokens: Sequence[int]) -> Ids:
    """The prompt with each image token as often as its picture has features.

    Args:
        ids: The prompt, one image token a picture.
        image_id: The image token.
        tokens: Features of each picture, in order.

    Raises:
        InvalidRequest: The chat template wrote another number of pictures than there are.
    """
    places = np.flatnonzero(ids == image_id)
    if len(places) != len(tokens):
        raise InvalidRequest(
            f"The model's chat template has places for {len(places)} of the {len(tokens)} "
            "pictures; put pictures into the user's messages.",
            param="messages",
        )
    times = np.ones(len(ids), np.int64)
    times[places] = tokens
    return np.repeat(ids, times)


def _fail(batch: Sequence[_Asked], error: SilklineError) -> None:
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_exception(error)


def _closed() -> SilklineError:
    return InternalFault("The engine was closed.")
