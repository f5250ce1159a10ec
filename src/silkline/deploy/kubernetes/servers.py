"""The gateways and the engines: what runs in their pods, and how it starts and ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from silkline.config import VARIABLE_PREFIX
from silkline.deploy.kubernetes import api, policies
from silkline.deploy.kubernetes.nodes import Condition, digest, given, text, why
from silkline.deploy.kubernetes.parts import (
    ENGINE,
    GATEWAY,
    PORT_NAME,
    REDIS,
    File,
    Parts,
    container_security,
    pod_security,
    spread,
)
from silkline.deploy.kubernetes.site import (
    KEYS,
    MODELS,
    PORT,
    engine_toml,
    gateway_toml,
    grace_seconds,
    own_redis,
)

_CONFIG = "/etc/silkline"
_START_PERIOD = 10
_TMP = api.Mount("tmp", "/tmp")  # noqa: S108 - a volume of the pod
_STATE = api.Mount("state", "/var/lib/silkline")
_DRAIN = (
    "More than lame_duck and drain_timeout together. There is no preStop hook, because the server "
    "drains itself: at SIGTERM /ready says 503, requests are still accepted for lame_duck seconds "
    "(answered with Connection: close) while nodes learn that the pod leaves, and what runs then "
    "has drain_timeout to finish."
)
_BY_PROGRESS = (
    "Ready by progress: /ready says 503 when an engine that has requests makes no step, which no "
    "ping would show."
)


def server_files(parts: Parts) -> Iterator[File]:
    """Returns the files of gateways and engines."""
    values, settings = parts.values, parts.settings
    gateway = gateway_toml(settings, values.release, values.engine_max)
    engine = engine_toml(settings)
    yield File("gateway-config.yaml", "Settings of the gateways.", parts.config(GATEWAY, gateway))
    yield File("gateway-deployment.yaml", "The gateways, which clients reach.",
               _gateways(parts, digest("gateway-config.yaml", gateway)))  # fmt: skip
    yield File("gateway-service.yaml", "The address of the gateways.", _service(parts, GATEWAY))
    yield File("engine-config.yaml", "Settings of the engines.", parts.config(ENGINE, engine))
    yield File(
        "engine-statefulset.yaml",
        "The engines. A StatefulSet, since the gateways must know each engine by name: they send "
        "an image to the engine that has seen it, limit and eject engines one by one. Behind one "
        "address of a Deployment they could do neither.",
        _engines(parts, digest("engine-config.yaml", engine)),
    )
    yield File(
        "engine-service.yaml",
        "Gives each engine that is ready a name: RELEASE-engine-0.RELEASE-engine.",
        _service(parts, ENGINE),
    )
    for part in (GATEWAY, ENGINE):
        budget = policies.DisruptionBudgetSpec(1, parts.selects(part))
        yield File(
            f"{part}-disruption-budget.yaml",
            "Nodes are drained one pod at a time.",
            parts.object("policy/v1", "PodDisruptionBudget", part, budget),
        )


def _gateways(parts: Parts, config: str) -> api.Object:
    values = parts.values
    has_keys, has_redis = Condition(values.gateway_keys), Condition(values.redis)
    secret = api.SecretVolume(values.gateway_keys.node, 0o440)
    variables = api.VariablesFrom(api.SecretReference(values.gateway_env.node))
    container = api.Container(
        **_basis(parts),
        env=(
            *_HOMES,
            *(given(has_redis, variable) for variable in _redis_variables(parts)),
        ),
        env_from=given(Condition(values.gateway_env), (variables,)),
        startup_probe=_probe("/live", 12),
        liveness_probe=_probe("/live", 3),
        readiness_probe=_probe(values.gateway_readiness.node, 2, period=5),
        resources=values.gateway_resources.node,
        volume_mounts=(*_MOUNTS, given(has_keys, api.Mount("keys", KEYS, read_only=True))),
    )
    pod = api.PodSpec(
        **_pod_basis(parts, GATEWAY),
        containers=(container,),
        volumes=(
            *_volumes(parts, GATEWAY),
            given(has_keys, api.Volume("keys", secret=secret)),
        ),
    )
    spec = api.DeploymentSpec(
        replicas=_count(parts, values.gateway_replicas.node),
        strategy=why(
            "A new gateway is ready before an old one leaves.",
            api.Strategy("RollingUpdate", api.RollingUpdate(1, 0)),
        ),
        selector=parts.selects(GATEWAY),
        template=_template(parts, GATEWAY, config, pod),
    )
    return parts.object("apps/v1", "Deployment", GATEWAY, spec)


def _engines(parts: Parts, config: str) -> api.Object:
    values = parts.values
    container = api.Container(
        **_basis(parts),
        env=_HOMES,
        startup_probe=why("A model takes minutes to load.",
                          _probe("/ready", values.engine_tries.node)),
        liveness_probe=why("A stuck engine is replaced by the server in its own pod; liveness "
                           "only asks whether that server answers.", _probe("/live", 3)),
        readiness_probe=why(_BY_PROGRESS, _probe("/ready", 2, period=5)),
        resources=values.engine_resources.node,
        volume_mounts=(
            *_MOUNTS,
            given(_has_weights(parts), api.Mount("models", MODELS, read_only=True)),
            api.Mount("shared-memory", "/dev/shm"),  # noqa: S108 - a volume of the pod
        ),
    )  # fmt: skip
    pod = api.PodSpec(
        **_pod_basis(parts, ENGINE),
        init_containers=given(_has_weights(parts), weights_containers(parts)),
        containers=(container,),
        volumes=(*_volumes(parts, ENGINE), *_engine_volumes(parts)),
        node_selector=values.engine_nodes.node,
        tolerations=values.engine_tolerations.node,
    )
    spec = api.StatefulSetSpec(
        service_name=parts.name(ENGINE),
        replicas=_count(parts, values.engine_replicas.node),
        pod_management_policy=why("Engines do not wait for each other to start.", "Parallel"),
        selector=parts.selects(ENGINE),
        template=_template(parts, ENGINE, config, pod),
    )
    return parts.object("apps/v1", "StatefulSet", ENGINE, spec)


def weights_containers(parts: Parts) -> tuple[api.Container, ...]:
    """Containers that copy the weights from an image, and compare them with their checksums.

    They need no network, so the engines' network policy holds for them too.
    """
    values = parts.values
    models = api.Mount("models", MODELS)
    resources = {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    copy = api.Container(
        name="copy-weights",
        image=values.weights_image.node,
        image_pull_policy=values.pull_policy.node,
        command=("cp", "-r", "/models/.", "/copy"),
        resources=resources,
        security_context=container_security(),
        volume_mounts=(api.Mount("models", "/copy"),),
    )
    check = api.Container(
        name="check-weights",
        image=values.image.node,
        image_pull_policy=values.pull_policy.node,
        command=("sh", "-c", f"cd {MODELS} && sha256sum --check --strict --quiet SHA256SUMS"),
        resources=resources,
        security_context=container_security(),
        volume_mounts=(models,),
    )
    return (
        given(_weights_from(parts, "image"), copy),
        why("A weight that is not whole would give wrong answers, not an error.", check),
    )


def _engine_volumes(parts: Parts) -> tuple[api.Volume, ...]:
    values = parts.values
    claim = api.ClaimVolume(values.weights_claim.node)
    shared = api.EmptyDir(values.engine_shared_memory.node, "Memory")
    return (
        given(
            _weights_from(parts, "claim"),
            api.Volume("models", persistent_volume_claim=claim),
        ),
        given(
            _weights_from(parts, "image"),
            api.Volume("models", empty_dir=api.EmptyDir("500Gi")),
        ),
        api.Volume("shared-memory", empty_dir=shared),
    )


def _weights_from(parts: Parts, source: str) -> Condition:
    return Condition(parts.values.weights, source)


def _has_weights(parts: Parts) -> Condition:
    return Condition(parts.values.weights, "bundled", negated=True)


_MOUNTS = (api.Mount("config", _CONFIG, read_only=True), _TMP, _STATE)
_HOMES = (api.Variable("HOME", _TMP.mount_path),)


def _redis_variables(parts: Parts) -> tuple[api.Variable, ...]:
    """Where the own Redis is, for each setting that names no other store."""
    return tuple(
        api.Variable(
            f"{VARIABLE_PREFIX}{name.upper()}",
            text("redis://", parts.values.release, f"-{REDIS}:6379/{database}"),
        )
        for database, name in enumerate(own_redis(parts.settings))
    )


def _count(parts: Parts, replicas: int) -> int:
    about = "Only where nothing scales: each apply would undo what an autoscaler did."
    return given(Condition(parts.values.scaler, "none"), why(about, replicas))


def _basis(parts: Parts) -> dict[str, Any]:
    """What the containers of all servers have."""
    return {
        "name": "silkline",
        "image": parts.values.image.node,
        "image_pull_policy": parts.values.pull_policy.node,
        "command": ("silkline", "up", "--config", f"{_CONFIG}/silkline.toml"),
        "ports": (api.ContainerPort(PORT_NAME, PORT),),
        "security_context": container_security(),
    }


def _pod_basis(parts: Parts, part: str) -> dict[str, Any]:
    """What the pods of all servers have."""
    return {
        "automount_service_account_token": why("Servers never ask Kubernetes' API.", what=False),
        "enable_service_links": why(
            "Variables of services named silkline would look like settings.", what=False
        ),
        "termination_grace_period_seconds": why(_DRAIN, grace_seconds(parts.settings)),
        "security_context": pod_security(),
        "topology_spread_constraints": spread(parts.selects(part)),
    }


def _volumes(parts: Parts, part: str) -> tuple[api.Volume, ...]:
    return (
        api.Volume("config", config_map=api.ConfigMapVolume(parts.name(part))),
        api.Volume("tmp", empty_dir=api.EmptyDir("8Gi")),
        api.Volume("state", empty_dir=api.EmptyDir("8Gi")),
    )


def _template(parts: Parts, part: str, config: str, pod: api.PodSpec) -> api.PodTemplate:
    changed = why("Pods are replaced when their settings change.", config)
    return api.PodTemplate(api.PodMetadata(parts.selector(part), {"checksum/config": changed}), pod)


def _probe(path: str, failures: int, period: int = _START_PERIOD) -> api.Probe:
    return api.Probe(
        http_get=api.HttpGet(path, PORT_NAME),
        period_seconds=period,
        timeout_seconds=3,
        failure_threshold=failures,
    )


def _service(parts: Parts, part: str) -> api.Object:
    headless = part == ENGINE
    ports = (api.ServicePort(PORT_NAME, PORT if headless else 80, PORT_NAME),)
    spec = api.ServiceSpec(parts.selector(part), ports, "None" if headless else None)
    return parts.object("v1", "Service", part, spec)
