"""Encodes waiting images in small batches, so that decoding requests are delayed only briefly."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.engines.memory import too_little_memory
from silkline.engines.torch.adapters import Adapters, LoadedAdapter
from silkline.engines.torch.families.base import Family, PreparedImage
from silkline.engines.torch.families.inputs import joined
from silkline.engines.torch.features import FeatureCache
from silkline.engines.torch.job import Job
from silkline.errors import InvalidRequest, SilklineError

logger = logging.getLogger("silkline.engines.torch")

_HURRIED_SECONDS = 0.05
"""Target time of an image batch while other requests run; it has at least one image."""

_FREE_SECONDS = 0.25
"""Target time while nothing else can run: short, so that the first requests can start soon."""

_MAX_TOKENS = 8192
"""Maximum features in an image batch, to limit the vision tower's memory; it has at least one
image."""

IMAGE_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)
"""Errors that vision towers raise for an image that they cannot process."""

DEVICE_ERROR = torch.AcceleratorError
"""The error that torch raises when the device has failed for good. The image is not its cause."""

_NO_MEMORY = "DefaultCPUAllocator"
"""Part of the message of the error when main memory is exhausted; torch has no class for it."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images that are encoded together.

    Attributes:
        images: The images by their keys.
        adapter: The adapter that changes the vision tower for them; None for the base's own.
    """

    images: dict[bytes, PreparedImage]
    adapter: LoadedAdapter | None


class Vision:
    """Encodes images of many requests in batches, with a cache of their features."""

    def __init__(self, family: Family, cache: FeatureCache, adapters: Adapters) -> None:
        self._family = family
        self._adapters = adapters
        self._cache = cache
        self._token_seconds = 0.0

    def encode_some(self, waiting: Sequence[Job], *, hurried: bool) -> dict[Job, SilklineError]:
        """Encodes a batch of images of the waiting requests, oldest first.

        Afterwards requests whose images are all encoded have their `inputs`.

        Args:
            waiting: Requests without `inputs`.
            hurried: Whether other requests could run in the meantime.

        Returns:
            The errors of requests whose images the model cannot process, or for which there is not
            enough memory.

        Raises:
            torch.AcceleratorError: The device has failed.
        """
        self._use_cache(waiting)
        batch = self._next_batch(waiting, _HURRIED_SECONDS if hurried else _FREE_SECONDS)
        encoded, refused = self._encode(batch) if batch.images else ({}, {})
        failed: dict[Job, SilklineError] = {}
        for job in waiting:
            images = job.prompt.images
            keys = [_key(job, image) for image in images]
            short = [refused[key] for key in keys if key in refused]
            if short:
                failed[job] = refusal(short_of_memory=all(short))
                continue
            for index, key in enumerate(keys):
                if job.features[index] is None and key in encoded:
                    job.features[index] = encoded[key]
                    if job.scope is not None:
                        self._cache.put(key, encoded[key])
            try:
                self._embed(job)
            except DEVICE_ERROR:
                raise
            except IMAGE_ERRORS as error:
                logger.exception(
                    "the model's input for a prompt could not be computed",
                    extra={"ecs": {"http.request.id": job.id}},
                )
                failed[job] = refusal(short_of_memory=short_of_memory(error))
        return failed

    def _use_cache(self, waiting: Sequence[Job]) -> None:
        """Fills in features from the cache."""
        for job in waiting:
            for index, image in enumerate(job.prompt.images):
                if job.features[index] is None and job.scope is not None:
                    job.features[index] = self._cache.get(_key(job, image))

    def _next_batch(self, waiting: Sequence[Job], seconds: float) -> _Batch:
        """Returns the distinct images to encode now, all by the vision tower of one adapter."""
        batch = _Batch({}, None)
        tokens = 0
        for job in waiting:
            adapter = job.adapter if job.adapter is not None and job.adapter.sees else None
            for index, image in enumerate(job.prompt.images):
                key = _key(job, image)
                if job.features[index] is not None or key in batch.images:
                    continue
                if not batch.images:
                    batch = _Batch({}, adapter)
                elif batch.adapter is not adapter:
                    break
                tokens += image.features
                full = tokens > _MAX_TOKENS or tokens * self._token_seconds > seconds
                if batch.images and full:
                    return batch
                batch.images[key] = image
        return batch

    def _encode(self, batch: _Batch) -> tuple[dict[bytes, torch.Tensor], dict[bytes, bool]]:
        """Encodes a batch of images.

        Returns:
            Features by key; and for images that failed, whether it was for lack of memory.
        """
        began = time.perf_counter()
        encoded, short = self._try_encode(batch)
        if not encoded:
            if len(batch.images) == 1:
                return {}, dict.fromkeys(batch.images, short)
            return self._encode_separately(batch)
        tokens = sum(image.features for image in batch.images.values())
        if next(iter(encoded.values())).is_cuda:
            torch.cuda.synchronize()
        self._token_seconds = (time.perf_counter() - began) / tokens
        return encoded, {}

    def _try_encode(self, batch: _Batch) -> tuple[dict[bytes, torch.Tensor], bool]:
        """Returns features by key; on an error none, and whether memory was exhausted.

        The error must not leave this function: its traceback keeps the vision tower's tensors.
        """
        try:
            with self._adapters.applied([(batch.adapter, 1)]):
                features = self._family.encode(list(batch.images.values()))
            return dict(zip(batch.images, features, strict=True)), False
        except DEVICE_ERROR:
            raise
        except (SilklineError, *IMAGE_ERRORS) as error:
            if len(batch.images) == 1:
                logger.exception("an image could not be encoded")
            return {}, short_of_memory(error)

    def _encode_separately(
        self, batch: _Batch
    ) -> tuple[dict[bytes, torch.Tensor], dict[bytes, bool]]:
        """Does the same as `_encode`, image by image, for a batch that failed."""
        encoded: dict[bytes, torch.Tensor] = {}
        refused: dict[bytes, bool] = {}
        for key, image in batch.images.items():
            features, errors = self._encode(_Batch({key: image}, batch.adapter))
            encoded |= features
            refused |= errors
        return encoded, refused

    def _embed(self, job: Job) -> None:
        features = [tensor for tensor in job.features if tensor is not None]
        if len(features) < len(job.features):
            return
        with self._adapters.applied([(job.adapter, 1)]):
            job.prompt, found = self._family.prune(job.prompt, features)
            inputs = self._family.embed(job.prompt, found)
            if job.generated:
                generated = torch.tensor(job.generated, device=inputs.device)
                inputs = joined((inputs, self._family.embed_next(generated)))
        job.inputs = inputs
        job.features.clear()


def _key(job: Job, image: PreparedImage) -> bytes:
    """The image within the scope of its request: scopes share no features, in flight or kept."""
    scope = str(id(job)).encode() if job.scope is None else job.scope
    return b"%d:%b%b" % (len(scope), scope, image.digest)


def short_of_memory(error: Exception) -> bool:
    """Whether an error says that memory was exhausted."""
    return isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY in str(error)


def refusal(*, short_of_memory: bool) -> SilklineError:
    """Returns the error of a request whose images could not be encoded."""
    if short_of_memory:
        return too_little_memory()
    return InvalidRequest(
        "The model cannot process an image of this request. Send it in another size or aspect "
        "ratio.",
        param="messages",
    )
