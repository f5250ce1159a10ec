"""What the settings say about a deployment: its models, and the settings files of its parts."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from silkline.config import ModelSettings, Settings
from silkline.config.toml import toml_of
from silkline.deploy.kubernetes.nodes import Each, Text, Value, text
from silkline.engines.remote.slots import limit_for
from silkline.errors import ConfigError
from silkline.models.resolve import BUNDLED_MODEL

PORT = 8000
UID = 10001
MODELS = "/models"
KEYS = "/run/secrets/silkline"

LAME_DUCK = 5
"""Seconds until every node knows that a pod is leaving."""

GRACE = 10
"""Seconds beyond the drain: a server ends at most 6 s after it."""

_RENDER_ONLY = {"deploy"}
_REPLACED = {"server", "auth", "engine", "models"}
_OF_GATEWAYS = {"cache", "idempotency", "responses", "history", "experiments", "experimenting"}


def engine_models(settings: Settings) -> dict[str, ModelSettings]:
    """The models with engines of their own here, by name: no cascades, adapters or remotes."""
    return {
        name: model for name, model in _named(settings).items()
        if not (model.cascade or model.base or model.remotes or model.engine == "remote")
    }  # fmt: skip


def own_redis(settings: Settings) -> tuple[str, ...]:
    """The settings for which the deployment has a Redis of its own: those that name no store.

    Raises:
        ConfigError: The settings want an own object store.
    """
    stores = {
        "cache_redis": settings.cache.cache_redis,
        "idempotency_store": settings.idempotency.idempotency_store,
        "limits_redis": settings.admission.limits_redis,
    }
    own = settings.deploy.own_stores
    if "objects" in own:
        raise ConfigError(
            "own_stores names objects, but the manifests have no object store. Remove it, and name "
            "an object store in cache_objects."
        )
    wanted = "redis" in own
    return tuple(name for name, store in stores.items() if wanted and not store)


def grace_seconds(settings: Settings) -> int:
    """Seconds that a pod has to end."""
    return LAME_DUCK + settings.server.drain_timeout + GRACE


def gateway_toml(settings: Settings, release: Value[str], engines: Value[int]) -> str:
    """The settings file of the gateways, whose engines are remote servers with fixed names."""
    ours = engine_models(settings)
    others = {name: _given(model) for name, model in _named(settings).items() if name not in ours}
    keys: dict[str, Any] = {"allow_anyone": True} if settings.auth.allow_anyone else {}
    if settings.auth.keys_file or not keys:
        keys = {"keys_file": f"{KEYS}/keys.toml"}
    origins = {"cors_origins": settings.auth.cors_origins} if settings.auth.cors_origins else {}
    tables = {
        "server": _server(settings),
        "auth": keys | origins,
        **_sections(settings, _RENDER_ONLY | _REPLACED),
        **{f'models."{name}"': table for name, table in others.items()},
    }
    parts: list[str | Value[Any] | Each] = [toml_of(tables)]
    for name, model in ours.items():
        table = {"engine": "remote", **_own_keys(model)}
        parts += ["\n", toml_of({f'models."{name}"': table}), "remotes = [\n"]
        limit = limit_for(model.max_batch * model.workers)
        url = ('  "http://', release, "-engine-{}.", release, f"-engine:{PORT}")
        parts += [
            Each(engines, Text((*url, f' name=engine-{{}} model={name} limit={limit}",\n'))),
            "]\n",
        ]
    return text(*parts)


def engine_toml(settings: Settings) -> str:
    """The settings file of the engines: their models, and no cache, which the gateways have."""
    models = {
        f'models."{name}"': {**_given(model), "model": _path(name, model)}
        for name, model in engine_models(settings).items()
    }
    tables = {
        "server": _server(settings, without=frozenset({"processes"})),
        "auth": {"allow_anyone": True},
        "cache": {"cache_ttl": 0},
        **_sections(settings, _RENDER_ONLY | _REPLACED | _OF_GATEWAYS),
        **models,
    }
    return toml_of(tables)


def _server(settings: Settings, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    own = settings.server.model_dump(exclude_unset=True, exclude=set(without))
    return own | {
        "host": "0.0.0.0",  # noqa: S104 - inside a pod
        "port": PORT,
        "lame_duck": max(LAME_DUCK, settings.server.lame_duck),
    }


def _sections(settings: Settings, without: set[str]) -> dict[str, dict[str, Any]]:
    """The sections with what the settings change, as data for a file."""
    changed = settings.model_dump(mode="json", exclude_defaults=True, exclude=without)
    found: dict[str, dict[str, Any]] = {}
    for section, keys in changed.items():
        if section == "experiments":
            found |= {f'experiments."{name}"': table for name, table in keys.items()}
        else:
            found[section] = keys
    return found


def _named(settings: Settings) -> dict[str, ModelSettings]:
    return {key or _name_of(model): model for key, model in settings.served.items()}


def _name_of(model: ModelSettings) -> str:
    """The name of the model of `[engine]`, which has no table."""
    last = PurePath(model.model).name
    return model.served_name or re.sub(r"[^A-Za-z0-9._-]", "-", last).lstrip("._-") or "model"


def _given(model: ModelSettings) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_defaults=True, exclude={"served_name"})


def _own_keys(model: ModelSettings) -> dict[str, Any]:
    """What a gateway must know of a model that engines serve."""
    return model.model_dump(mode="json", include={"aliases", "trust"}, exclude_defaults=True)


def _path(name: str, model: ModelSettings) -> str:
    return model.model if model.model == BUNDLED_MODEL else f"{MODELS}/{name}"
