"""Chooses the fastest attention function by measuring, with the model's heads and on its device.

No fixed rule works: torch's fused kernels are faster for long prompts, plain matrix products for
next tokens on some processors, and which kernels accept a mask depends on device and version. A
function that fails here is not used; a failed measurement does not keep the model from starting.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import torch

from silkline.engines.torch.attention import Form, Probed, Score, eager, sdpa
from silkline.engines.torch.slots import LayerShape
from silkline.engines.torch.vision import DEVICE_ERROR

logger = logging.getLogger("silkline.engines.torch")

T = TypeVar("T")

SCORES: Mapping[str, Score] = {"sdpa": sdpa, "eager": eager}
"""The attention functions to choose from, by the names that the options use."""

_TIMES = 5
"""Timed runs of each function after a warm-up run; the shortest time counts, as disturbances only
make it longer."""

_TRIAL_SECONDS = 1.0
"""Time budget per stage, with at least one timed run: some types are very slow."""

_LENGTH = 512
"""Tokens of a typical request: an image, a question and an answer."""

_MAX_BATCH = 16
_MAX_CHUNK = 512
"""Limits of the measured sizes: larger ones would not change the choice, but need more memory."""

_LONG = 4
"""Number of chunks in a long prompt, of which the last one is measured."""

_WORTH = 0.9
"""`eager` is chosen only below this share of the fused kernel's time, as it stores all scores."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The attention functions of a model.

    Attributes:
        prefill: The function for prompt chunks.
        decode: The function for next tokens.
    """

    prefill: Score
    decode: Score


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes to measure with.

    Attributes:
        shape: A token's cache entry in the layer.
        heads: Number of query heads of the layer; a multiple of its KV heads.
        batch: Number of decoding requests.
        length: Number of tokens that each of them attends to.
        chunk: Number of tokens in a prompt chunk.
    """

    shape: LayerShape
    heads: int
    batch: int
    length: int
    chunk: int

    @classmethod
    def of(cls, found: Probed, batch: int, chunk: int) -> Sizes:
        """Returns the sizes for a model, based on its last layer; layers seldom differ.

        Args:
            found: The model's layers.
            batch: Maximum number of requests in a batch.
            chunk: Maximum number of tokens in a prompt chunk.
        """
        layer = max(found.shapes)
        return cls(
            found.shapes[layer],
            found.heads[layer],
            min(batch, _MAX_BATCH),
            _LENGTH,
            min(chunk, _MAX_CHUNK),
        )


def choose(name: str, sizes: Sizes, like: torch.Tensor) -> Chosen:
    """Returns the attention functions by name or, for "auto", the fastest for each stage.

    Args:
        name: A name in `SCORES`, or "auto".
        sizes: The sizes to measure with.
        like: A tensor with the type of keys and values, on the model's device.

    Raises:
        torch.AcceleratorError: The device has failed.
    """
    if name != "auto":
        return Chosen(SCORES[name], SCORES[name])
    form = Form(scaling=sizes.shape.key_dim**-0.5)
    return Chosen(
        prefill=_faster("prompts", lambda: _chunks(sizes, like), form),
        decode=_faster("next tokens", lambda: [_next_tokens(sizes, like)], form),
    )


class _Call(NamedTuple):
    """The arguments of an attention function."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


def _faster(stage: str, make: Callable[[], Sequence[_Call]], form: Form) -> Score:
    calls = _try(make, stage)
    if calls is None:
        return SCORES["sdpa"]
    scores, minimum = dict(SCORES), dict.fromkeys(SCORES, math.inf)
    until = time.perf_counter() + _TRIAL_SECONDS
    for run in range(1 + _TIMES):
        # Alternating, so that other load on the machine affects both.
        for name in tuple(scores):
            duration = _try(partial(_seconds, scores[name], calls, form), f"{name}, {stage}")
            if duration is None:
                del scores[name]
                minimum[name] = math.inf
            elif run:
                minimum[name] = min(minimum[name], duration)
        if run and time.perf_counter() > until:
            break
    best = "eager" if minimum["eager"] < _WORTH * minimum["sdpa"] else "sdpa"
    measured = ", ".join(f"{name} {1000 * minimum[name]:.3f} ms" for name in scores)
    logger.info("attention for %s: %s; measured: %s", stage, best, measured or "nothing")
    return SCORES[best]


def _try(function: Callable[[], T], subject: str) -> T | None:
    """Calls a function; returns None if no kernel supports the call or memory is exhausted.

    Raises:
        torch.AcceleratorError: The device has failed.
    """
    try:
        return function()
    except DEVICE_ERROR:
        raise
    except RuntimeError:
        logger.warning("attention could not be measured: %s", subject, exc_info=True)
        return None


def _seconds(score: Score, calls: Sequence[_Call], form: Form) -> float:
    device = calls[0].query.device
    began = time.perf_counter()
    for call in calls:
        score(call.query, call.key, call.value, mask=call.mask, form=form)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _next_tokens(sizes: Sizes, like: torch.Tensor) -> _Call:
    """The call for a full batch of next tokens, as `PackedAttention` makes it."""
    shape, batch = sizes.shape, sizes.batch
    query = like.new_ones(batch, shape.kv_heads, sizes.heads // shape.kv_heads, shape.key_dim)
    mask = like.new_zeros(batch, 1, 1, sizes.length)
    return _Call(query, *_cache(batch, sizes.length, shape, like), mask)


def _chunks(sizes: Sizes, like: torch.Tensor) -> list[_Call]:
    """The calls for the first two chunks of a prompt, and for the last chunk of a long prompt.

    All but the first have a mask. In a long prompt `eager` may lose far more time than it saves in
    a short one.
    """
    chunk = sizes.chunk
    query = like.new_ones(1, sizes.heads, chunk, sizes.shape.key_dim)
    calls = [_Call(query, *_cache(1, chunk, sizes.shape, like), None)]
    for length in (2 * chunk, _LONG * chunk):
        mask = like.new_full((chunk, length), float("-inf")).triu(length - chunk + 1)
        calls.append(_Call(query, *_cache(1, length, sizes.shape, like), mask))
    return calls


def _cache(
    count: int, length: int, shape: LayerShape, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of `count` slots."""
    keys = like.new_ones(count, shape.kv_heads, length, shape.key_dim)
    return keys, like.new_ones(count, shape.kv_heads, length, shape.value_dim)
