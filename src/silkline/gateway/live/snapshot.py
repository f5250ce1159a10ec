"""A snapshot of the server's metrics for the console, from their text format.

The text is that of all gateway processes. Only the families that the console shows are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

_ANSWERING = (
    "/predict",
    "/v1/chat/",
    "/v1/completions",
    "/v1/messages",
    "/v1/responses",
)
"""Routes whose requests are traffic; the others are for operators."""

_MODEL = "model"

_COUNTERS = {
    "requests_total": (("requests", "code"), ("cache", "cache")),
    "errors_total": (("errors", "code"),),
    "request_seconds_bucket": (("latency", "le"),),
    "tokens_total": (("tokens", "kind"),),
}
"""By family: fields of a snapshot that add its samples up, each by the values of a label."""

_STAGES = {"stage_seconds_sum": 0, "stage_seconds_count": 1}
_TENANTS = {"admitted_total", "refused_total"}
_OPEN, _LOADED = "open_requests", "model_loaded"
_PARTS = r"(?:queue|replica|cache)_\w+(?<!_bucket)(?<!_sum)(?<!_count)(?<!_created)"
"""Families of which every value is shown, but for histograms."""

_NAMES = "|".join((*_COUNTERS, *_STAGES, *sorted(_TENANTS), _OPEN, _LOADED, _PARTS))
_SAMPLE = re.compile(rf"^silkline_({_NAMES})(?:\{{(.*)\}})? (\S+)$".encode(), re.MULTILINE)


class Snapshot(msgspec.Struct, kw_only=True):
    """What the server counts and measures at one moment; counters only grow.

    Attributes:
        at: Unix time.
        requests: Requests so far, by HTTP status.
        cache: Requests so far, by what the cache did.
        errors: Requests so far that ended in an error, by its code.
        latency: Requests so far that took at most so many seconds, by these seconds as text.
        stages: Seconds spent so far, and requests that spent them, by stage.
        tokens: Tokens so far, by kind.
        open_requests: Requests that are being served.
        queues: By model: `waiting`, `running`, `capacity`, `predicted_wait_seconds` and others.
        replicas: By model and replica: `ready`, `ejected`, `requests`, `limit` and others.
        loaded: By model: whether it is loaded.
        tiers: By cache tier: `hit`, `miss`, `entries`, `bytes`, `degraded` and others.
        near: The near-duplicate cache: `entries`, `hits`, `samples`, `false_hits`; empty if off.
        tenants: By tenant: requests so far that were `admitted`, and refused ones by reason.
    """

    at: float
    requests: dict[str, float] = msgspec.field(default_factory=dict)
    cache: dict[str, float] = msgspec.field(default_factory=dict)
    errors: dict[str, float] = msgspec.field(default_factory=dict)
    latency: dict[str, float] = msgspec.field(default_factory=dict)
    stages: dict[str, list[float]] = msgspec.field(default_factory=dict)
    tokens: dict[str, float] = msgspec.field(default_factory=dict)
    open_requests: float = 0.0
    queues: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    replicas: dict[str, dict[str, dict[str, float]]] = msgspec.field(default_factory=dict)
    loaded: dict[str, bool] = msgspec.field(default_factory=dict)
    tiers: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    near: dict[str, float] = msgspec.field(default_factory=dict)
    tenants: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)


def snapshot_of(metrics: bytes, at: float) -> Snapshot:
    """Reads a snapshot from metrics in Prometheus' text format, taken at Unix time `at`."""
    snapshot = Snapshot(at=at)
    for name, labels, value in _samples(metrics):
        if labels.get("route", _ANSWERING[0]).startswith(_ANSWERING):
            _take(snapshot, name, labels, value)
    return snapshot


def _take(snapshot: Snapshot, name: str, labels: Mapping[str, str], value: float) -> None:
    if name in _COUNTERS:
        for field, label in _COUNTERS[name]:
            _add(getattr(snapshot, field), labels[label], value)
    elif name in _STAGES:
        snapshot.stages.setdefault(labels["stage"], [0.0, 0.0])[_STAGES[name]] += value
    elif name == _OPEN:
        snapshot.open_requests = value
    elif name == _LOADED:
        snapshot.loaded[labels[_MODEL]] = bool(value)
    elif name in _TENANTS:
        reason = labels.get("reason", "admitted")
        _add(snapshot.tenants.setdefault(labels["tenant"], {}), reason, value)
    else:
        _take_part(snapshot, name.removesuffix("_total"), labels, value)


def _take_part(snapshot: Snapshot, name: str, labels: Mapping[str, str], value: float) -> None:
    """Takes a sample of a family of which every value is shown: `replica_ready`, `cache_bytes`."""
    part, _, what = name.partition("_")
    match part:
        case "queue" if _MODEL in labels:
            snapshot.queues.setdefault(labels[_MODEL], {})[what] = value
        case "replica" if "replica" in labels:
            replicas = snapshot.replicas.setdefault(labels[_MODEL], {})
            replicas.setdefault(labels["replica"], {})[what] = value
        case "cache" if "tier" in labels:
            what = labels.get("outcome", what)
            snapshot.tiers.setdefault(labels["tier"], {})[what] = value
        case "cache" if what.startswith("near_"):
            snapshot.near[what.removeprefix("near_")] = value
        case _:
            pass


def _add(values: dict[str, float], key: str, value: float) -> None:
    values[key] = values.get(key, 0.0) + value


def _samples(metrics: bytes) -> Iterator[tuple[str, dict[str, str], float]]:
    for found in _SAMPLE.finditer(metrics):
        pairs = _LABEL.findall((found[2] or b"").decode())
        labels = {name: _ESCAPE.sub(_unescaped, text) for name, text in pairs}
        yield found[1].decode(), labels, float(found[3])


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]
