"""Reads a remote server's model list, `GET /v1/models`.

Silkline reports revision, precision, context length, image tokens, pixel budget and features; vLLM
and SGLang report `max_model_len`; llama-server describes the file in `meta`, where `n_ctx` is the
context of a request. The settings can supply what a server does not report, or override what it
reports wrongly.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, Feature, PixelBudget
from silkline.engines.remote.failures import lost
from silkline.engines.remote.servers import FEATURES, ServerKind
from silkline.errors import UNDECODABLE

ENGINE = "remote"
DEFAULT_CONTEXT_LENGTH = 8192
DEFAULT_IMAGE_TOKENS = 1024
UNKNOWN = "unknown"

MAX_COUNT = 2**53
"""Maximum of any count of a server: the largest integer that every JSON parser reads, RFC 8259."""

_MAX_NAME_CHARS = 256
_REVISION_BYTES = 6


class Listing(NamedTuple):
    """What a model list reports.

    Attributes:
        info: The engine's info.
        server: The kind of server.
        names: The names of all its models, adapters included.
    """

    info: EngineInfo
    server: ServerKind
    names: frozenset[str] = frozenset()


def read_listing(body: bytes, settings: RemoteSettings) -> Listing:
    """Reads the server's model list.

    Args:
        body: The body of `/v1/models`.
        settings: The model's name, and values that override those of the list.

    Raises:
        WorkerLost: The body is not a list of models, or the model is not in it.
    """
    model, names = _find(body, settings.model)
    context_length = (
        settings.context_length
        or _count(model, "context_length")
        or _count(model, "max_model_len")
        or _count(model.get("meta"), "n_ctx")
        or _count(model.get("meta"), "n_ctx_train")
        or DEFAULT_CONTEXT_LENGTH
    )
    image_tokens = settings.image_tokens or _count(model, "image_tokens") or DEFAULT_IMAGE_TOKENS
    server = ServerKind.of(model.get("owned_by"))
    info = EngineInfo(
        engine=ENGINE,
        model=model["id"],
        revision=settings.revision or _text(model, "revision") or _fingerprint(model),
        precision=_text(model, "precision") or _text(model.get("meta"), "ftype") or UNKNOWN,
        context_length=context_length,
        image_tokens=min(image_tokens, context_length - 1) or 1,
        pixel_budget=_pixel_budget(model, settings.max_pixels),
        features=_features(model, server) - set(settings.without),
    )
    return Listing(info, server, names)


def _features(model: dict[str, Any], server: ServerKind) -> frozenset[Feature]:
    """The features that another Silkline reports; for other servers, those of their kind."""
    reported = model.get("features")
    if not isinstance(reported, list):
        return FEATURES[server]
    known = frozenset(feature for feature in Feature if feature.value in reported)
    return known - {Feature.TOKENIZE}  # the tokens would be asked for on a route of their own


def _pixel_budget(model: dict[str, Any], max_pixels: int | None) -> PixelBudget:
    """The pixel budget that another Silkline reports; images are reduced to it before sending."""
    reported = model.get("pixel_budget")
    maximum = max_pixels or _count(reported, "max_pixels") or PixelBudget().max_pixels
    return PixelBudget(max_pixels=maximum, shortest_edge=_count(reported, "shortest_edge") or None)


def _find(body: bytes, name: str) -> tuple[dict[str, Any], frozenset[str]]:
    """The entry of the model, and the names of all."""
    try:
        listing: Any = msgspec.json.decode(body)
    except UNDECODABLE as error:
        raise lost("sent no list of models") from error
    models = listing.get("data") if isinstance(listing, dict) else None
    listed = models if isinstance(models, list) else []
    found = {identity: model for model in reversed(listed) if (identity := _text(model, "id"))}
    wanted = name or next(reversed(found), "")
    if wanted not in found:
        raise lost("does not serve the configured model")
    return dict(found[wanted]), frozenset(found)


def _text(table: object, name: str) -> str:
    """A short text that is valid in a header; empty if there is none."""
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
    """A revision for servers that report none: a hash of the model's entry without times."""
    entry = {name: model.get(name) for name in ("id", "root", "parent", "max_model_len", "meta")}
    encoded = msgspec.json.encode(entry, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=_REVISION_BYTES).hexdigest()
