"""The objects of Kubernetes that scale, protect and connect pods, as far as they are needed.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import msgspec

from silkline.deploy.kubernetes.api import Api, Selector


class DisruptionBudgetSpec(Api, frozen=True):
    """How many pods may be evicted at a time."""

    max_unavailable: int
    selector: Selector


class Target(Api, frozen=True):
    """What is scaled."""

    api_version: str
    kind: str
    name: str


class Policy(Api, frozen=True):
    """How fast the number of replicas changes."""

    type: str
    value: int
    period_seconds: int


class Rules(Api, frozen=True):
    """How replicas are added, or removed."""

    stabilization_window_seconds: int
    policies: tuple[Policy, ...]


class Behavior(Api, frozen=True):
    """How replicas are added and removed."""

    scale_up: Rules
    scale_down: Rules


class MetricTarget(Api, frozen=True):
    """The target of a metric: a value, or an average utilization in percent."""

    type: str
    value: str | None = None
    average_utilization: int | None = None


class MetricName(Api, frozen=True):
    """The name of an external metric."""

    name: str


class ExternalMetric(Api, frozen=True):
    """A metric that an adapter provides."""

    metric: MetricName
    target: MetricTarget


class ResourceMetric(Api, frozen=True):
    """The CPU time of the pods."""

    name: str
    target: MetricTarget


class Metric(Api, frozen=True):
    """What an autoscaler looks at."""

    type: str
    external: ExternalMetric | None = None
    resource: ResourceMetric | None = None


class AutoscalerSpec(Api, frozen=True):
    """A HorizontalPodAutoscaler (autoscaling/v2)."""

    scale_target_ref: Target
    min_replicas: int
    max_replicas: int
    metrics: tuple[Metric, ...]
    behavior: Behavior


class IpBlock(Api, frozen=True):
    """A network, without others."""

    cidr: str
    without: tuple[str, ...] = msgspec.field(name="except", default=())


class Peer(Api, frozen=True):
    """Who may send or receive."""

    pod_selector: Selector | None = None
    namespace_selector: Selector | None = None
    ip_block: IpBlock | None = None


class NetworkPort(Api, frozen=True):
    """A port of a network policy."""

    protocol: str
    port: int


class Ingress(Api, rename={"peers": "from"}, frozen=True):
    """Who may connect to a pod."""

    ports: tuple[NetworkPort, ...]
    peers: tuple[Peer, ...] = ()


class Egress(Api, rename={"peers": "to"}, frozen=True):
    """Whom a pod may connect to."""

    ports: tuple[NetworkPort, ...]
    peers: tuple[Peer, ...] = ()


class NetworkPolicySpec(Api, frozen=True):
    """Who may connect to pods, and whom they may connect to."""

    pod_selector: Selector
    policy_types: tuple[str, ...]
    ingress: tuple[Ingress, ...] | None = None
    egress: tuple[Egress, ...] | None = None
