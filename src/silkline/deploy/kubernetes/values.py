"""The values of the chart, with the defaults that the settings give them.

A field of `Values` is a value; `all_values` lists them in the order in which the chart shows them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from silkline.config import Settings
from silkline.deploy.kubernetes.api import Items, Labels
from silkline.deploy.kubernetes.nodes import RELEASE, Value
from silkline.deploy.kubernetes.policies import Egress
from silkline.deploy.kubernetes.site import engine_models, own_redis
from silkline.models.resolve import BUNDLED_MODEL

_REPLICAS = {"minimum": 0, "maximum": 1000}
_TARGET = {"minimum": 0}
_MIB = 1024 * 1024

Resources = Mapping[str, Labels]


@dataclass(frozen=True)
class Values:
    """All values of the chart."""

    release: Value[str]
    image: Value[str]
    pull_policy: Value[str]
    gateway_replicas: Value[int]
    gateway_max: Value[int]
    gateway_cpu: Value[int]
    gateway_resources: Value[Resources]
    gateway_readiness: Value[str]
    gateway_keys: Value[str]
    gateway_env: Value[str]
    gateway_egress: Value[tuple[Egress, ...]]
    engine_replicas: Value[int]
    engine_max: Value[int]
    engine_resources: Value[Resources]
    engine_tries: Value[int]
    engine_nodes: Value[Labels]
    engine_tolerations: Value[Items]
    engine_shared_memory: Value[str]
    weights: Value[str]
    weights_claim: Value[str]
    weights_image: Value[str]
    scaler: Value[str]
    backlog: Value[float]
    saturation: Value[float]
    busy: Value[float]
    cpu: Value[int]
    scale_down: Value[int]
    prometheus: Value[str]
    redis: Value[bool]
    redis_image: Value[str]
    ingress: Value[bool]
    ingress_class: Value[str]
    ingress_host: Value[str]
    ingress_tls: Value[str]
    monitors: Value[bool]
    runtime: Value[bool]
    pool: Value[bool]

    def all_values(self) -> tuple[Value[Any], ...]:
        """Returns the values that a user of the chart sets."""
        found = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(value for value in found if value.path != RELEASE)


def values_of(settings: Settings) -> Values:
    """Returns the values, with the defaults that the settings give them."""
    return Values(
        **_common(settings),
        **_gateway(settings),
        **_engine(settings),
        **_scaling(settings),
        **_others(settings),
    )


def _common(settings: Settings) -> dict[str, Any]:
    deploy = settings.deploy
    policies = {"enum": ["IfNotPresent", "Always", "Never"]}
    return {
        "release": Value(RELEASE, deploy.deployment, "The release."),
        "image": Value("image", deploy.image, "Image of gateways and engines, by tag or digest."),
        "pull_policy": Value(
            "imagePullPolicy", "IfNotPresent", "When nodes pull the image.", policies
        ),
    }


def _gateway(settings: Settings) -> dict[str, Any]:
    deploy = settings.deploy
    anyone = settings.auth.allow_anyone and not settings.auth.keys_file
    return {
        "gateway_replicas": Value(
            "gateway.replicas", deploy.gateway_replicas, "Gateways; the minimum if scaled.",
            {"minimum": 1, "maximum": 1000},
        ),
        "gateway_max": Value(
            "gateway.maxReplicas", deploy.max_gateway_replicas, "Maximum gateways.", _REPLICAS
        ),
        "gateway_cpu": Value(
            "gateway.cpu", 70, "Percent of the requested CPU at which gateways are added.",
            {"minimum": 1, "maximum": 100},
        ),
        "gateway_resources": Value(
            "gateway.resources", _resources(deploy.gateway_cpu, deploy.gateway_memory_bytes),
            "Requests and limits. No limit of CPU: a throttled gateway is late for all clients.",
        ),
        "gateway_readiness": Value(
            "gateway.readiness", "/live" if deploy.scale_to_zero else "/ready",
            "Path that a gateway is ready by. With engines that scale to zero it must be /live: a "
            "gateway that is not ready gets no requests, and without requests no engine starts.",
            {"enum": ["/ready", "/live"]},
        ),
        "gateway_keys": Value(
            "gateway.keysSecret", "" if anyone else f"{deploy.deployment}-keys",
            "Secret with keys.toml, the tenants' API keys, and metrics-key, the key with which "
            "Prometheus reads /metrics; empty lets anyone in.",
        ),
        "gateway_env": Value(
            "gateway.envSecret", "", "Secret whose keys are variables of the gateways, such as "
            "SILKLINE_CACHE_REDIS with a password, or AWS_SECRET_ACCESS_KEY; empty means none.",
        ),
        "gateway_egress": Value(
            "gateway.extraEgress", (), "More entries of the egress of the gateways' network "
            "policy, for stores and log servers in private networks.",
        ),
    }  # fmt: skip


def _engine(settings: Settings) -> dict[str, Any]:
    deploy = settings.deploy
    resources = _resources(deploy.engine_cpu, deploy.engine_memory_bytes)
    nodes: dict[str, str] = {}
    tolerations: Items = ()
    if deploy.accelerator != "none":
        kind = {"nvidia": "nvidia.com/gpu", "tpu": "google.com/tpu"}[deploy.accelerator]
        resources["limits"] = {**resources["limits"], kind: str(deploy.accelerator_count)}
        tolerations = ({"key": kind, "operator": "Exists", "effect": "NoSchedule"},)
        label = {"nvidia": "nvidia.com/gpu.product", "tpu": "cloud.google.com/gke-tpu-accelerator"}
        if deploy.accelerator_product:
            nodes = {label[deploy.accelerator]: deploy.accelerator_product}
    return {
        "engine_replicas": Value(
            "engine.replicas", 0 if deploy.scale_to_zero else deploy.engine_replicas,
            "Engines; the minimum if scaled. 0 needs KEDA.", _REPLICAS,
        ),
        "engine_max": Value(
            "engine.maxReplicas", deploy.max_engine_replicas,
            "Maximum engines. The gateways know that many by name.",
            {"minimum": 1, "maximum": 1000},
        ),
        "engine_resources": Value(
            "engine.resources", resources, "Requests and limits, with the accelerators."
        ),
        "engine_tries": Value(
            "engine.startTries", 90,
            "How often a model that loads is asked, every 10 s, before its pod is restarted.",
            {"minimum": 1},
        ),
        "engine_nodes": Value(
            "engine.nodeSelector", nodes, "Labels of the nodes, such as those of an accelerator."
        ),
        "engine_tolerations": Value(
            "engine.tolerations", tolerations, "Taints of nodes that engines tolerate."
        ),
        "engine_shared_memory": Value(
            "engine.sharedMemory", "1Gi", "Size of /dev/shm, which tensor parallelism needs."
        ),
        **_weights(settings),
    }  # fmt: skip


def _weights(settings: Settings) -> dict[str, Any]:
    name = settings.deploy.deployment
    models = engine_models(settings).values()
    bundled = all(model.model == BUNDLED_MODEL for model in models)
    return {
        "weights": Value(
            "weights.source", "bundled" if bundled else "claim",
            "Where the weights are: bundled (in the image), claim (a PersistentVolumeClaim) or "
            "image (another image, whose /models is copied).",
            {"enum": ["bundled", "claim", "image"]},
        ),
        "weights_claim": Value(
            "weights.claim", f"{name}-models",
            "The claim. It holds a folder for each model, and SHA256SUMS of all files.",
        ),
        "weights_image": Value(
            "weights.image", f"{name}-models:1", "The image, with the same below /models."
        ),
    }  # fmt: skip


def _scaling(settings: Settings) -> dict[str, Any]:
    deploy, targets = settings.deploy, settings.deploy.autoscale
    scaler = "keda" if deploy.scale_to_zero else "hpa" if targets else "none"
    return {
        "scaler": Value(
            "autoscaling.by", scaler,
            "What scales: hpa (with an adapter for metrics), keda, or none.",
            {"enum": ["hpa", "keda", "none"]},
        ),
        "backlog": Value(
            "autoscaling.backlogSeconds", targets.get("backlog", 0),
            "Target of the queued work, in seconds of all engines; 0 leaves the metric out.",
            _TARGET,
        ),
        "saturation": Value(
            "autoscaling.saturation", targets.get("saturation", 0),
            "Target of waiting and running requests, divided by what engines can run; 0 leaves it "
            "out.", _TARGET,
        ),
        "busy": Value(
            "autoscaling.busy", targets.get("busy", 0),
            "Target of the share of time in which engines compute; 0 leaves it out.", _TARGET,
        ),
        "cpu": Value(
            "autoscaling.cpuPercent", round(100 * targets.get("cpu", 0)),
            "Target of the engines' CPU, in percent of what they request; 0 leaves it out.",
            _TARGET,
        ),
        "scale_down": Value(
            "autoscaling.scaleDownSeconds", deploy.scale_down_seconds,
            "Seconds that load must be lower before replicas stop.",
            {"minimum": 0, "maximum": 3600},
        ),
        "prometheus": Value(
            "autoscaling.prometheus", settings.monitoring.prometheus_url,
            "URL of the Prometheus that KEDA asks.",
        ),
    }  # fmt: skip


def _others(settings: Settings) -> dict[str, Any]:
    deploy = settings.deploy
    return {
        "redis": Value(
            "redis.enabled", bool(own_redis(settings)),
            "A Redis for cached answers and idempotency keys, which the gateways share. It keeps "
            "them in memory only.",
        ),
        "redis_image": Value("redis.image", "redis:7.4-alpine", "Its image."),
        "ingress": Value("ingress.enabled", True, "An Ingress for the gateways."),  # noqa: FBT003
        "ingress_class": Value("ingress.className", deploy.ingress_class, "Its class."),
        "ingress_host": Value("ingress.host", deploy.ingress_host, "Host name of the API."),
        "ingress_tls": Value(
            "ingress.tlsSecret", deploy.tls_secret, "Secret with the certificate; empty: no TLS."
        ),
        "monitors": Value(
            "prometheusOperator.enabled", False,  # noqa: FBT003
            "ServiceMonitors and a PrometheusRule; needs the Prometheus operator.",
        ),
        "runtime": Value(
            "kserve.enabled", False, "A ServingRuntime; needs KServe."  # noqa: FBT003
        ),
        "pool": Value(
            "inferencePool.enabled", False,  # noqa: FBT003
            "An InferencePool of the engines, for a Gateway API that picks endpoints itself in "
            "place of our gateways; needs its CRDs and an endpoint picker.",
        ),
    }  # fmt: skip


def _resources(cores: float, memory: int) -> dict[str, dict[str, str]]:
    """Memory is requested whole, as what is limited but not there ends the pod."""
    size = f"{memory // _MIB}Mi"
    return {"requests": {"cpu": f"{cores:g}", "memory": size}, "limits": {"memory": size}}
