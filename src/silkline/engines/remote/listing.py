"""What a remote server says of itself: `GET /v1/models`.

Silkline tells revision, precision, context length, image tokens and pixel budget; vLLM and SGLang
`max_model_len`; llama-server describes the file in `meta`, and there what a request has of the
context, `n_ctx`. What none of them tells, or tells wrongly, the settings can say.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, PixelBudget
from silkline.engines.remote.failures import lost
from silkline.errors import UNDECODABLE

ENGINE = "remote"
DEFAULT_CONTEXT_LENGTH = 8192
DEFAULT_IMAGE_TOKENS = 1024
UNKNOWN = "unknown"

MAX_COUNT = 2**53
"""Of anything that a server counts: the most that every reader of JSON takes, RFC 8259."""

_MAX_NAME_CHARS = 256
_REVISION_BYTES = 6


def read_listing(body: bytes, settings: RemoteSettings) -> EngineInfo:
    """What the server's model is.

    Args:
        body: What `/v1/models` gave.
        settings: Which model is wanted, and what is known better.

    Raises:
        WorkerLost: It is no list of models, or the one that is wanted is not in it.
    """
    model = _wanted(body, settings.model)
    context_length = (
        settings.context_length
        or _count(model, "context_length")
        or _count(model, "max_model_len")
        or _count(model.get("meta"), "n_ctx")
        or _count(model.get("meta"), "n_ctx_train")
        or DEFAULT_CONTEXT_LENGTH
    )
    image_tokens = settings.image_tokens or _count(model, "image_tokens") or DEFAULT_IMAGE_TOKENS
    return EngineInfo(
        engine=ENGINE,
        model=model["id"],
        revision=settings.revision or _text(model, "revision") or _fingerprint(model),
        precision=_text(model, "precision") or _text(model.get("meta"), "ftype") or UNKNOWN,
        context_length=context_length,
        image_tokens=min(image_tokens, context_length - 1) or 1,
        pixel_budget=_pixel_budget(model, settings.max_pixels),
    )


def _pixel_budget(model: dict[str, Any], max_pixels: int | None) -> PixelBudget:
    """A Silkline's own budget: what is reduced to it here need not be sent and reduced there."""
    told = model.get("pixel_budget")
    maximum = max_pixels or _count(told, "max_pixels") or PixelBudget().max_pixels
    return PixelBudget(max_pixels=maximum, shortest_edge=_count(told, "shortest_edge") or None)


def _wanted(body: bytes, name: str) -> dict[str, Any]:
    try:
        listing: Any = msgspec.json.decode(body)
    except UNDECODABLE as error:
        raise lost("lists no models") from error
    models = listing.get("data") if isinstance(listing, dict) else None
    for model in models if isinstance(models, list) else ():
        identity = _text(model, "id")
        if identity and name in {"", identity}:
            return dict(model)
    raise lost("does not have the model that is wanted of it")


def _text(table: object, name: str) -> str:
    """A short text that can stand in a header; empty where there is none."""
    value = table.get(name) if isinstance(table, dict) else None
    if not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
        return ""
    return value if value.isascii() and value.isprintable() else ""


def _count(table: object, name: str) -> int:
    value = table.get(name) if isinstance(table, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MAX_COUNT else 0


def _fingerprint(model: dict[str, Any]) -> str:
    """A revision for servers that know none: what they say of the model, but for the time."""
    told = {name: model.get(name) for name in ("id", "root", "parent", "max_model_len", "meta")}
    encoded = msgspec.json.encode(told, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=_REVISION_BYTES).hexdigest()
