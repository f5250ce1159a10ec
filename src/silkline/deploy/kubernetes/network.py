"""Who may connect to whom, and the entry for clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from silkline.deploy.kubernetes import api, policies
from silkline.deploy.kubernetes.nodes import Condition, given, why
from silkline.deploy.kubernetes.parts import ENGINE, GATEWAY, PORT_NAME, REDIS, File, Parts
from silkline.deploy.kubernetes.site import PORT

REDIS_PORT = 6379
_PRIVATE = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
)
_SERVER = (policies.NetworkPort("TCP", PORT),)
_REDIS = (policies.NetworkPort("TCP", REDIS_PORT),)
_DNS = (policies.NetworkPort("UDP", 53), policies.NetworkPort("TCP", 53))
_WEB = (policies.NetworkPort("TCP", 80), policies.NetworkPort("TCP", 443))


def network_files(parts: Parts) -> Iterator[File]:
    """Returns the network policies and the Ingress."""
    yield File("gateway-network.yaml", "What gateways may reach.", _gateways(parts))
    yield File(
        "engine-network.yaml",
        "Engines get their images from the gateways, so they need no network at all: a model "
        "that was tampered with can send nothing away.",
        _inner(parts, ENGINE, (*_from(parts, GATEWAY), _prometheus()), _SERVER),
    )
    yield File(
        "redis-network.yaml",
        "Only gateways reach the Redis, which has no password.",
        _inner(parts, REDIS, _from(parts, GATEWAY), _REDIS),
        Condition(parts.values.redis),
    )
    yield File(
        "gateway-ingress.yaml",
        "The entry for clients.",
        _ingress(parts),
        Condition(parts.values.ingress),
    )


def _gateways(parts: Parts) -> api.Object:
    internet = policies.IpBlock(
        "0.0.0.0/0", why("A second lock beside the server's own.", _PRIVATE)
    )
    has_redis = Condition(parts.values.redis)
    egress = (
        why("Names.", policies.Egress(_DNS)),
        *((policies.Egress(_SERVER, _from(parts, ENGINE)),) if parts.has_engines else ()),
        given(has_redis, policies.Egress(_REDIS, _from(parts, REDIS))),
        why("Images from URLs.", policies.Egress(_WEB, (policies.Peer(ip_block=internet),))),
    )
    spec = policies.NetworkPolicySpec(
        parts.selects(GATEWAY), ("Ingress", "Egress"), (policies.Ingress(_SERVER),), egress
    )
    return parts.object("networking.k8s.io/v1", "NetworkPolicy", GATEWAY, spec)


def _more_egress(parts: Parts) -> api.Object:
    """A policy of its own: policies add up."""
    spec = policies.NetworkPolicySpec(
        parts.selects(GATEWAY), ("Egress",), egress=parts.values.gateway_egress.node
    )
    return parts.object("networking.k8s.io/v1", "NetworkPolicy", f"{GATEWAY}-more", spec)


def more_egress_file(parts: Parts) -> File:
    """Returns the policy with the egress that the chart's user adds."""
    return File(
        "gateway-more-network.yaml",
        "What gateways may reach too: network policies add up.",
        _more_egress(parts),
        Condition(parts.values.gateway_egress),
    )


def _inner(
    parts: Parts,
    part: str,
    peers: tuple[policies.Peer, ...],
    ports: tuple[policies.NetworkPort, ...],
) -> api.Object:
    """A policy that lets peers in and nothing out."""
    spec = policies.NetworkPolicySpec(
        parts.selects(part),
        ("Ingress", "Egress"),
        (policies.Ingress(ports, peers),),
        why("Nothing.", ()),
    )
    return parts.object("networking.k8s.io/v1", "NetworkPolicy", part, spec)


def _from(parts: Parts, part: str) -> tuple[policies.Peer, ...]:
    return (policies.Peer(pod_selector=parts.selects(part)),)


def _prometheus() -> policies.Peer:
    """Any Prometheus of the cluster."""
    name = api.Selector({"app.kubernetes.io/name": "prometheus"})
    return policies.Peer(pod_selector=name, namespace_selector=api.Selector())


def _ingress(parts: Parts) -> api.Object:
    """An Ingress; its annotations are those of ingress-nginx, which other classes ignore."""
    values, settings = parts.values, parts.settings
    body = settings.limits.max_body_bytes // 1024 + 1
    timeout = f"{settings.server.request_timeout + 5:.0f}"
    prefix = "nginx.ingress.kubernetes.io"
    notes = {
        f"{prefix}/proxy-buffering": why("Streams reach the client at once.", "off"),
        f"{prefix}/proxy-request-buffering": "off",
        f"{prefix}/proxy-body-size": why("No smaller than the server's own limit.", f"{body}k"),
        f"{prefix}/proxy-read-timeout": why("Later than the server's own timeout.", timeout),
        f"{prefix}/proxy-next-upstream": why(
            "A request that was sent is not sent again: the gateways retry by themselves.",
            "error",
        ),
    }
    backend = {"service": {"name": parts.name(GATEWAY), "port": {"name": PORT_NAME}}}
    host = values.ingress_host.node
    paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    spec: dict[str, Any] = {
        "ingressClassName": values.ingress_class.node,
        "tls": given(
            Condition(values.ingress_tls),
            [{"hosts": [host], "secretName": values.ingress_tls.node}],
        ),
        "rules": [{"host": host, "http": paths}],
    }
    made = parts.object("networking.k8s.io/v1", "Ingress", GATEWAY, spec)
    metadata = api.Metadata(made.metadata.name, made.metadata.labels, notes)
    return api.Object(made.api_version, made.kind, metadata, spec)
