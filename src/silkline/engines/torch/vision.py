"""Encodes the pictures that wait, in bites that keep the others waiting only for a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from silkline.engines.memory import too_little_memory
from silkline.engines.torch.families.base import Family, PreparedImage
from silkline.engines.torch.features import FeatureCache
from silkline.engines.torch.job import Job
from silkline.errors import InvalidRequest, SilklineError

logger = logging.getLogger("silkline.engines.torch")

_HURRIED_SECONDS = 0.05
"""How long a bite should take while requests generate; one picture is taken at least."""

_FREE_SECONDS = 0.25
"""How long it should take while nothing else could run: short enough to begin with those seen."""

_MAX_TOKENS = 8192
"""Of a bite, for the memory that the vision tower takes; one picture is taken at least."""

IMAGE_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)
"""What vision towers raise on a picture that they cannot take."""

DEVICE_ERROR = torch.AcceleratorError
"""What torch raises when the device has failed, after which nothing runs on it: not for the picture
to answer for."""

_NO_MEMORY = "DefaultCPUAllocator"
"""In the message of torch's error when the CPU's memory is short, which has no class of its own."""


class Vision:
    """The vision tower, batched over requests, behind the cache of features."""

    def __init__(self, family: Family, cache: FeatureCache) -> None:
        self._family = family
        self._cache = cache
        self._token_seconds = 0.0

    def look(self, waiting: Sequence[Job], *, hurried: bool) -> dict[Job, SilklineError]:
        """Takes a bite: encodes some pictures of those who wait, oldest first.

        Afterwards those whose pictures are all encoded have their `inputs`.

        Args:
            waiting: Requests without `inputs`.
            hurried: Whether others could go on meanwhile.

        Returns:
            The requests whose pictures the model cannot take, or for which the memory is too short,
            with what to tell them.

        Raises:
            torch.AcceleratorError: The device has failed.
        """
        self._recall(waiting)
        bite = self._bite(waiting, _HURRIED_SECONDS if hurried else _FREE_SECONDS)
        found, refused = self._encode(bite) if bite else ({}, {})
        failed: dict[Job, SilklineError] = {}
        for job in waiting:
            images = job.prompt.images
            why = [refused[each.digest] for each in images if each.digest in refused]
            if why:
                failed[job] = _refusal(short_of_memory=all(why))
                continue
            for place, image in enumerate(images):
                if job.features[place] is None:
                    job.features[place] = found.get(image.digest)
            try:
                self._embed(job)
            except DEVICE_ERROR:
                raise
            except IMAGE_ERRORS as error:
                logger.exception(
                    "a prompt could not be put together",
                    extra={"ecs": {"http.request.id": job.id}},
                )
                failed[job] = _refusal(short_of_memory=_short_of_memory(error))
        return failed

    def _recall(self, waiting: Sequence[Job]) -> None:
        """Takes features from the cache."""
        for job in waiting:
            for place, image in enumerate(job.prompt.images):
                if job.features[place] is None:
                    job.features[place] = self._cache.get(image.digest)

    def _bite(self, waiting: Sequence[Job], seconds: float) -> dict[bytes, PreparedImage]:
        """The pictures to encode now, each once."""
        bite: dict[bytes, PreparedImage] = {}
        tokens = 0
        for job in waiting:
            for place, image in enumerate(job.prompt.images):
                if job.features[place] is not None or image.digest in bite:
                    continue
                tokens += image.tokens
                late = tokens > _MAX_TOKENS or tokens * self._token_seconds > seconds
                if bite and late:
                    return bite
                bite[image.digest] = image
        return bite

    def _encode(
        self, bite: dict[bytes, PreparedImage]
    ) -> tuple[dict[bytes, torch.Tensor], dict[bytes, bool]]:
        """Features by digest, and those that cannot be encoded: whether for want of memory."""
        began = time.perf_counter()
        encoded, short = self._tried(bite)
        if not encoded:
            return ({}, dict.fromkeys(bite, short)) if len(bite) == 1 else self._one_by_one(bite)
        for digest, features in encoded.items():
            self._cache.put(digest, features)
        tokens = sum(image.tokens for image in bite.values())
        if next(iter(encoded.values())).is_cuda:
            torch.cuda.synchronize()
        self._token_seconds = (time.perf_counter() - began) / tokens
        return encoded, {}

    def _tried(self, bite: dict[bytes, PreparedImage]) -> tuple[dict[bytes, torch.Tensor], bool]:
        """Features by digest, or nothing and whether it was the memory that was too short.

        The error, whose traceback holds what the vision tower had made, is let go of here.
        """
        try:
            return dict(zip(bite, self._family.encode(list(bite.values())), strict=True)), False
        except DEVICE_ERROR:
            raise
        except (SilklineError, *IMAGE_ERRORS) as error:
            if len(bite) == 1:
                logger.exception("a picture could not be encoded")
            return {}, _short_of_memory(error)

    def _one_by_one(
        self, bite: dict[bytes, PreparedImage]
    ) -> tuple[dict[bytes, torch.Tensor], dict[bytes, bool]]:
        """The same, for a bite with a picture in it that cannot be encoded."""
        encoded: dict[bytes, torch.Tensor] = {}
        refused: dict[bytes, bool] = {}
        for digest, image in bite.items():
            found, wrong = self._encode({digest: image})
            encoded |= found
            refused |= wrong
        return encoded, refused

    def _embed(self, job: Job) -> None:
        features = [each for each in job.features if each is not None]
        if len(features) < len(job.features):
            return
        inputs = self._family.embed(job.prompt, features)
        if job.generated:
            again = torch.tensor(job.generated, device=inputs.device)
            inputs = torch.cat((inputs, self._family.embed_next(again)))
        job.inputs = inputs
        job.features.clear()


def _short_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY in str(error)


def _refusal(*, short_of_memory: bool) -> SilklineError:
    """What to tell a request when its pictures could not be taken."""
    if short_of_memory:
        return too_little_memory()
    return InvalidRequest(
        "The model cannot take a picture of this request. Send it in another size or form.",
        param="messages",
    )
