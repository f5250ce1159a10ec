"""Which way to score is the faster one here: measured with the model's own heads, on its device.

No rule would do: torch's fused kernels win on long prompts and lose to plain matrix products on
the next tokens of some processors, and which of them takes a mask differs by device and version.
A way that does not work here is not taken; what cannot be measured keeps no model from starting.
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
"""What there is to choose from, by the names that the options have for it."""

_TIMES = 5
"""How often each is measured, after a first time that does not count; the shortest time counts, as
all that disturbs makes it longer."""

_TRIAL_SECONDS = 1.0
"""After this each stage has been measured enough, if once at least: some types take very long."""

_LENGTH = 512
"""Tokens of a usual request: a picture, a question and an answer."""

_MAX_BATCH = 16
_MAX_CHUNK = 512
"""More would not change the choice, and the memory is not there for it."""

_LONG = 4
"""Pieces of a long prompt, of which the last one is measured."""

_WORTH = 0.9
"""Share of the fused kernel's time below which `eager`, which keeps all scores, is worth it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a model attends.

    Attributes:
        prefill: Scores pieces of prompts.
        decode: Scores next tokens.
    """

    prefill: Score
    decode: Score


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured.

    Attributes:
        shape: Of a token in a layer's cache.
        heads: Query heads of that layer; a multiple of its KV heads.
        batch: Requests that generate together.
        length: Tokens that each of them sees.
        chunk: Tokens of a piece of a prompt.
    """

    shape: LayerShape
    heads: int
    batch: int
    length: int
    chunk: int

    @classmethod
    def of(cls, found: Probed, batch: int, chunk: int) -> Sizes:
        """Those of a model, by its last layer; they seldom differ.

        Args:
            found: Its layers.
            batch: Most requests at a time.
            chunk: Most tokens of a piece of a prompt.
        """
        layer = max(found.shapes)
        return cls(
            found.shapes[layer],
            found.heads[layer],
            min(batch, _MAX_BATCH),
            _LENGTH,
            min(chunk, _MAX_CHUNK),
        )


def choose(asked: str, sizes: Sizes, like: torch.Tensor) -> Chosen:
    """How to attend: as asked, or, with "auto", each stage by what takes the least time.

    Args:
        asked: A name of `SCORES`, or "auto".
        sizes: What to measure with.
        like: Gives the type of keys and values, and the device.

    Raises:
        torch.AcceleratorError: The device has failed.
    """
    if asked != "auto":
        return Chosen(SCORES[asked], SCORES[asked])
    form = Form(scaling=sizes.shape.key_dim**-0.5)
    return Chosen(
        prefill=_faster("prompts", lambda: _chunks(sizes, like), form),
        decode=_faster("next tokens", lambda: [_next_tokens(sizes, like)], form),
    )


class _Call(NamedTuple):
    """What `sdpa` and `eager` take."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


def _faster(stage: str, make: Callable[[], Sequence[_Call]], form: Form) -> Score:
    calls = _tried(make, stage)
    if calls is None:
        return SCORES["sdpa"]
    ways, minimum = dict(SCORES), dict.fromkeys(SCORES, math.inf)
    until = time.perf_counter() + _TRIAL_SECONDS
    for turn in range(1 + _TIMES):
        # In turns, so that a moment in which the machine is busy meets both.
        for name in tuple(ways):
            spent = _tried(partial(_seconds, ways[name], calls, form), f"{name}, {stage}")
            if spent is None:
                del ways[name]
                minimum[name] = math.inf
            elif turn:
                minimum[name] = min(minimum[name], spent)
        if turn and time.perf_counter() > until:
            break
    best = "eager" if minimum["eager"] < _WORTH * minimum["sdpa"] else "sdpa"
    told = ", ".join(f"{name} {1000 * minimum[name]:.3f} ms" for name in ways)
    logger.info("attention for %s: %s; measured: %s", stage, best, told or "nothing")
    return SCORES[best]


def _tried(what: Callable[[], T], told: str) -> T | None:
    """What comes of it; None where no kernel does it, or the memory is too short.

    Raises:
        torch.AcceleratorError: The device has failed.
    """
    try:
        return what()
    except DEVICE_ERROR:
        raise
    except RuntimeError:
        logger.warning("attention could not be measured: %s", told, exc_info=True)
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
    """Those of a full batch, as `PackedAttention` asks for them."""
    shape, batch = sizes.shape, sizes.batch
    query = like.new_ones(batch, shape.kv_heads, sizes.heads // shape.kv_heads, shape.key_dim)
    mask = like.new_zeros(batch, 1, 1, sizes.length)
    return _Call(query, *_cache(batch, sizes.length, shape, like), mask)


def _chunks(sizes: Sizes, like: torch.Tensor) -> list[_Call]:
    """The first two of a prompt, the second one with a mask, and one of a long prompt.

    There `eager` may lose by far what it gains on a short one.
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
    """Keys and values."""
    keys = like.new_ones(count, shape.kv_heads, length, shape.key_dim)
    return keys, like.new_ones(count, shape.kv_heads, length, shape.value_dim)
