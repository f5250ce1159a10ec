"""Sizes the KV cache and divides it between requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from silkline.engines.base import EngineOptions
from silkline.engines.kv_budget import USUAL_CONTEXT, kv_budget, spare_memory
from silkline.engines.managed.model import ServedModel
from silkline.engines.managed.options import ManagedOptions
from silkline.errors import ConfigError

MIN_TEXT_TOKENS = 64
"""Minimum tokens of text, question and answer together, that a request needs."""

_STEP = 256
"""llama.cpp rounds the context of a request up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cache of fixed size is divided into slots.

    Attributes:
        slots: Requests that run at the same time.
        context: Tokens of each slot.
    """

    slots: int
    context: int


def cache_bytes(
    model: ServedModel, own: ManagedOptions, options: EngineOptions, weights: Iterable[Path]
) -> int | None:
    """Bytes of the KV cache; None if not set and the bytes per token are unknown.

    Args:
        model: The model's metadata.
        own: The options of managed engines.
        options: The options that all engines share.
        weights: The files that the server loads.
    """
    if options.kv_cache_bytes or model.kv_bytes_per_token is None:
        return options.kv_cache_bytes or None
    return kv_budget(
        0,
        requests=options.max_batch,
        tokens=_promised_context(model, own),
        token_bytes=model.kv_bytes_per_token,
        spare=spare_memory(sum(path.stat().st_size for path in weights), options.kv_cache_limit),
    )


def check_room(model: ServedModel, own: ManagedOptions, cache_bytes: int | None) -> None:
    """Checks that the cache holds at least one request; passes if its size is unknown.

    Raises:
        ConfigError: The cache is too small; the message has the minimum size.
    """
    if model.kv_bytes_per_token is None or cache_bytes is None:
        return
    minimum = own.context or min_context(model, own)
    if cache_bytes // model.kv_bytes_per_token < minimum:
        raise ConfigError(
            f"The KV cache of {cache_bytes} bytes holds "
            f"{cache_bytes // model.kv_bytes_per_token} tokens of this model, but one request "
            f"needs {minimum}. Set kv_cache_bytes to {minimum * model.kv_bytes_per_token} or more."
        )


def share_out(
    model: ServedModel, own: ManagedOptions, max_batch: int, cache_bytes: int | None
) -> Plan:
    """Divides the cache into as many slots of the promised context as fit, up to `max_batch`.

    Raises:
        ConfigError: The cache is too small for one request.
    """
    check_room(model, own, cache_bytes)
    context = _promised_context(model, own)
    if model.kv_bytes_per_token is None or cache_bytes is None:
        return Plan(max_batch, context)
    tokens = cache_bytes // model.kv_bytes_per_token
    slots = min(max_batch, tokens // context)
    return Plan(slots, context) if slots else Plan(1, max(_STEP, tokens // _STEP * _STEP))


def min_context(model: ServedModel, own: ManagedOptions) -> int:
    """Minimum context of a request: one image and `MIN_TEXT_TOKENS` of text."""
    image = own.image_tokens or (model.rule.maximum().total if model.rule else 0)
    return min(image + MIN_TEXT_TOKENS, model.context_length or image + MIN_TEXT_TOKENS)


def _promised_context(model: ServedModel, own: ManagedOptions) -> int:
    """Tokens of a slot: the option `context`, else the model's up to `USUAL_CONTEXT`."""
    tokens = own.context or min(model.context_length or USUAL_CONTEXT, USUAL_CONTEXT)
    return -(-tokens // _STEP) * _STEP
