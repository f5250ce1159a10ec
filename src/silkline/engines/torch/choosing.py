"""Which way to score is the faster one here: measured with the model's own heads, on its device.

No rule would do: torch's fused kernels win on long prompts and lose to plain matrix products on
the next tokens of some processors, and which of them takes a mask differs by device and version.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from silkline.engines.torch.attention import Form, Probed, Score, eager, sdpa
from silkline.engines.torch.slots import LayerShape

logger = logging.getLogger("silkline.engines.torch")

SCORES: Mapping[str, Score] = {"sdpa": sdpa, "eager": eager}
"""What there is to choose from, by the names that the options have for it."""

_WARM_UPS = 2
_TIMES = 5
"""How often each is measured; the shortest time counts, as all that disturbs makes it longer."""

_LENGTH = 512
"""Tokens of a usual request: a picture, a question and an answer."""

_MOST_BATCH = 16
_MOST_CHUNK = 512
"""More would not change the choice, and the memory is not there for it."""

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
            min(batch, _MOST_BATCH),
            _LENGTH,
            min(chunk, _MOST_CHUNK),
        )


def choose(asked: str, sizes: Sizes, like: torch.Tensor) -> Chosen:
    """How to attend: as asked, or, with "auto", each stage by what takes the least time.

    Args:
        asked: A name of `SCORES`, or "auto".
        sizes: What to measure with.
        like: Gives the type of keys and values, and the device.
    """
    if asked != "auto":
        return Chosen(SCORES[asked], SCORES[asked])
    form = Form(scaling=sizes.shape.key_dim**-0.5)
    return Chosen(
        prefill=_faster("prompts", _pieces(sizes, like), form),
        decode=_faster("next tokens", [_next_tokens(sizes, like)], form),
    )


class _Call(NamedTuple):
    """What `sdpa` and `eager` take."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


def _faster(stage: str, calls: Sequence[_Call], form: Form) -> Score:
    times = {name: _seconds(score, calls, form) for name, score in SCORES.items()}
    best = "eager" if times["eager"] < _WORTH * times["sdpa"] else "sdpa"
    told = ", ".join(f"{name} {1000 * seconds:.3f} ms" for name, seconds in times.items())
    logger.info("attention for %s: %s; measured: %s", stage, best, told)
    return SCORES[best]


def _seconds(score: Score, calls: Sequence[_Call], form: Form) -> float:
    least = float("inf")
    device = calls[0].query.device
    for turn in range(_WARM_UPS + _TIMES):
        began = time.perf_counter()
        for call in calls:
            score(call.query, call.key, call.value, mask=call.mask, form=form)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= _WARM_UPS:
            least = min(least, time.perf_counter() - began)
    return least


def _next_tokens(sizes: Sizes, like: torch.Tensor) -> _Call:
    """Those of a full batch, as `PackedAttention` asks for them."""
    shape, batch = sizes.shape, sizes.batch
    query = like.new_ones(batch, shape.kv_heads, sizes.heads // shape.kv_heads, shape.key_dim)
    mask = like.new_zeros(batch, 1, 1, sizes.length)
    return _Call(query, *_cache(batch, sizes.length, shape, like), mask)


def _pieces(sizes: Sizes, like: torch.Tensor) -> list[_Call]:
    """The first two of a prompt: one is plainly causal, the next one needs a mask."""
    chunk = sizes.chunk
    query = like.new_ones(1, sizes.heads, chunk, sizes.shape.key_dim)
    mask = like.new_full((chunk, 2 * chunk), float("-inf")).triu(chunk + 1)
    first = _Call(query, *_cache(1, chunk, sizes.shape, like), None)
    return [first, _Call(query, *_cache(1, 2 * chunk, sizes.shape, like), mask)]


def _cache(
    count: int, length: int, shape: LayerShape, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values."""
    keys = like.new_ones(count, shape.kv_heads, length, shape.key_dim)
    return keys, like.new_ones(count, shape.kv_heads, length, shape.value_dim)
