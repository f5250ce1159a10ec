"""How much of the KV cache a request gets."""

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
"""Tokens of text, question and answer, without which a request makes no sense."""

_STEP = 256
"""llama.cpp rounds the context of a request up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a fixed cache is shared out.

    Attributes:
        slots: Requests that are computed together.
        context: Tokens that each of them has.
    """

    slots: int
    context: int


def cache_bytes(
    model: ServedModel, own: ManagedOptions, options: EngineOptions, weights: Iterable[Path]
) -> int | None:
    """Bytes of the KV cache; None where nobody says and it is not known what a token takes.

    Args:
        model: What is served.
        own: What only managed engines are told.
        options: What every engine is told.
        weights: The files that the server loads.
    """
    if options.kv_cache_bytes or model.kv_bytes_per_token is None:
        return options.kv_cache_bytes or None
    return kv_budget(
        0,
        requests=options.max_batch,
        tokens=_promised(model, own),
        token_bytes=model.kv_bytes_per_token,
        spare=spare_memory(sum(path.stat().st_size for path in weights)),
    )


def check_room(model: ServedModel, own: ManagedOptions, cache_bytes: int | None) -> None:
    """Checks that the cache holds at least one request, as far as that is known.

    Raises:
        ConfigError: It does not; the message says how large it must be.
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
    """Fixed slots: as many requests as fit, each with the context that it is promised.

    Raises:
        ConfigError: The cache does not hold one request.
    """
    check_room(model, own, cache_bytes)
    wanted = _promised(model, own)
    if model.kv_bytes_per_token is None or cache_bytes is None:
        return Plan(max_batch, wanted)
    tokens = cache_bytes // model.kv_bytes_per_token
    slots = min(max_batch, tokens // wanted)
    return Plan(slots, wanted) if slots else Plan(1, max(_STEP, tokens // _STEP * _STEP))


def min_context(model: ServedModel, own: ManagedOptions) -> int:
    """Tokens of a request with one picture and a little text."""
    image = own.image_tokens or (model.rule.maximum() if model.rule else 0)
    return min(image + MIN_TEXT_TOKENS, model.context_length or image + MIN_TEXT_TOKENS)


def _promised(model: ServedModel, own: ManagedOptions) -> int:
    """Tokens of a request: what is asked for, else the model's, the usual ones at most."""
    tokens = own.context or min(model.context_length or USUAL_CONTEXT, USUAL_CONTEXT)
    return -(-tokens // _STEP) * _STEP
