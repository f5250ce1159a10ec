"""The files of the target `compose`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any

from pydantic import BaseModel

from silkline.config import VARIABLE_PREFIX, Settings, UpstreamSettings, section_of_field
from silkline.deploy.alertmanager.target import ALERTMANAGER
from silkline.deploy.balancer import Balancer
from silkline.deploy.documents import from_template
from silkline.deploy.grafana.target import GRAFANA
from silkline.deploy.nginx.target import nginx_conf
from silkline.deploy.prometheus.target import PROMETHEUS
from silkline.deploy.target import Files, Target

PORT = 8000
_PACKAGE = "silkline.deploy.compose"
_END_SECONDS = 10
_MODEL_SECTIONS = {"engine"}
_GATEWAY_SECTIONS = {
    "auth", "limits", "fetch", "decode", "cache", "responses", "history", "admission", "log", "slo",
    "traces", "idempotency",
}  # fmt: skip
_REDIS = dict.fromkeys(("cache_redis", "idempotency_store", "limits_redis"), "redis://redis:6379")
_CPU_EXTRAS, _CUDA_EXTRAS = "openvino,pdf,redis,s3", "torch,gpu,pdf,redis,s3"


def _files(settings: Settings) -> Files:
    deploy = settings.deploy
    gateways = _names("gateway", deploy.gateway_replicas)
    weights = [upstream.weight for upstream in deploy.upstreams[: len(gateways)]]
    upstreams = tuple(
        UpstreamSettings(address=f"{name}:{PORT}", weight=weight)
        for name, weight in zip(gateways, chain(weights, repeat(1)), strict=False)
    )
    inside = _inside(settings, upstreams)
    parts = {target.name: target.render(inside) for target in (PROMETHEUS, ALERTMANAGER, GRAFANA)}
    cuda = deploy.accelerator == "nvidia"
    return {
        "compose.yaml": _compose(settings, gateways),
        "Dockerfile": _dockerfile(settings, "Dockerfile", cuda=False),
        **(
            {"Dockerfile.cuda": _dockerfile(settings, "Dockerfile.cuda", cuda=True)} if cuda else {}
        ),
        "nginx/silkline.conf": nginx_conf(Balancer(settings, upstreams)),
        **{f"{part}/{name}": text for part, files in parts.items() for name, text in files.items()},
    }


def _inside(settings: Settings, upstreams: tuple[UpstreamSettings, ...]) -> Settings:
    """The settings as the parts of the stack see each other: by the names of their services."""
    watched = settings.monitoring.model_copy(
        update={
            "scrape_targets": tuple(upstream.address for upstream in upstreams),
            "scrape_key_file": "/run/secrets/prometheus_key",
            "alertmanagers": ("alertmanager:9093",),
            "prometheus_url": "http://prometheus:9090",
        }
    )
    return settings.model_copy(update={"monitoring": watched})


def _names(part: str, count: int) -> list[str]:
    return [f"{part}-{number}" for number in range(1, count + 1)]


def _compose(settings: Settings, gateways: list[str]) -> str:
    deploy, server = settings.deploy, settings.server
    cuda = deploy.accelerator == "nvidia"
    engines = _names("engine", deploy.engine_replicas)
    drain = {"lame_duck": max(server.lame_duck, 5.0), "drain_timeout": server.drain_timeout}
    of_gateway = (
        _changed(settings, _GATEWAY_SECTIONS)
        | drain
        | {
            "engine": "remote",
            "remotes": ", ".join(f"http://{name}:{PORT}" for name in engines),
            "keys_file": "/run/secrets/keys",
            "log_format": "json",
            **(_REDIS if "redis" in deploy.own_stores else {}),
        }
    )
    # Only gateways reach an engine, and they have checked keys and limits.
    of_engine = _changed(settings, _MODEL_SECTIONS) | drain | {
        "allow_anyone": True, "log_format": "json",
    }  # fmt: skip
    return from_template(
        _PACKAGE,
        "compose.yaml.jinja",
        deploy=deploy,
        gateways=gateways,
        engines=engines,
        gateway_environment=_environment(of_gateway),
        engine_environment=_environment(of_engine),
        engine_image=f"{deploy.image}-cuda" if cuda else deploy.image,
        engine_dockerfile="Dockerfile.cuda" if cuda else "Dockerfile",
        grace_seconds=math.ceil(drain["lame_duck"] + drain["drain_timeout"]) + _END_SECONDS,
    )


def _changed(settings: Settings, sections: set[str]) -> dict[str, Any]:
    """The settings of sections that are not the default, by name."""
    owners = section_of_field()
    return {
        name: value
        for section in sections
        for name, value in getattr(settings, section).model_dump(exclude_defaults=True).items()
        if name in owners
    }


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Variables as quoted YAML, sorted by name; a `$` is doubled, because Compose replaces it."""
    return {
        f"{VARIABLE_PREFIX}{name.upper()}": json.dumps(_text(value).replace("$", "$$"))
        for name, value in sorted(values.items())
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(value)


def _dockerfile(settings: Settings, file: str, *, cuda: bool) -> str:
    image = settings.deploy.image
    return from_template(
        _PACKAGE,
        "Dockerfile.jinja",
        tag=f"{image}-cuda" if cuda else image,
        file=file,
        extras=_CUDA_EXTRAS if cuda else _CPU_EXTRAS,
        cuda=cuda,
    )


COMPOSE = Target("compose", "container images, and the whole stack on one machine", _files)
