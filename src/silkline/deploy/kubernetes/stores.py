"""An own Redis, which the gateways share."""

from __future__ import annotations

from collections.abc import Iterator

from silkline.deploy.kubernetes import api
from silkline.deploy.kubernetes.network import REDIS_PORT
from silkline.deploy.kubernetes.nodes import Condition, why
from silkline.deploy.kubernetes.parts import (
    REDIS,
    File,
    Parts,
    container_security,
    pod_security,
)

_MEMORY = "512mb"


def store_files(parts: Parts) -> Iterator[File]:
    """Returns the files of the stores."""
    wanted = Condition(parts.values.redis)
    about = (
        "A Redis for cached answers and idempotency keys. Without it a gateway only knows its own: "
        "a repeated request may be computed again by another one. When it is away, reads miss."
    )
    yield File("redis-deployment.yaml", about, _deployment(parts), wanted)
    ports = (api.ServicePort("redis", REDIS_PORT, "redis"),)
    service = parts.object("v1", "Service", REDIS, api.ServiceSpec(parts.selector(REDIS), ports))
    yield File("redis-service.yaml", "Its address.", service, wanted)


def _deployment(parts: Parts) -> api.Object:
    probe = api.Probe(tcp_socket=api.TcpSocket("redis"), failure_threshold=3)
    container = api.Container(
        name="redis",
        image=parts.values.redis_image.node,
        image_pull_policy=parts.values.pull_policy.node,
        args=why(
            "A cache: nothing is written to disk, and the oldest go first.",
            ("--save", "", "--maxmemory", _MEMORY, "--maxmemory-policy", "allkeys-lru"),
        ),
        ports=(api.ContainerPort("redis", REDIS_PORT),),
        liveness_probe=probe,
        readiness_probe=probe,
        resources={
            "requests": {"cpu": "250m", "memory": "768Mi"},
            "limits": {"memory": "768Mi"},
        },
        security_context=container_security(),
        volume_mounts=(api.Mount("data", "/data"),),
    )
    pod = api.PodSpec(
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=pod_security(),
        containers=(container,),
        volumes=(api.Volume("data", empty_dir=api.EmptyDir("1Gi")),),
    )
    template = api.PodTemplate(api.PodMetadata(parts.selector(REDIS)), pod)
    spec = api.DeploymentSpec(parts.selects(REDIS), template, 1, api.Strategy("Recreate"))
    return parts.object("apps/v1", "Deployment", REDIS, spec)
