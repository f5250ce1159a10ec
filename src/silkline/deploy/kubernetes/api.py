"""The objects of Kubernetes that a deployment needs, as far as it needs them.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.deploy.documents import Document

Labels = Mapping[str, str]
Items = tuple[Mapping[str, str], ...]


class Api(Document, rename="camel", frozen=True):
    """Base of the API's types, whose fields are in camel case."""


class Metadata(Api, frozen=True):
    """Name, labels and annotations."""

    name: str
    labels: Labels = msgspec.field(default_factory=dict)
    annotations: Labels = msgspec.field(default_factory=dict)


class PodMetadata(Api, frozen=True):
    """Labels and annotations of the pods of a template."""

    labels: Labels
    annotations: Labels = msgspec.field(default_factory=dict)


class Object(Api, frozen=True):
    """Any object: its type, its name and its content."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: Any = None
    data: Labels = msgspec.field(default_factory=dict)


class Selector(Api, frozen=True):
    """Selects pods or namespaces by labels; without labels, all of them."""

    match_labels: Labels = msgspec.field(default_factory=dict)


class HttpGet(Api, frozen=True):
    """An HTTP request of a probe."""

    path: str
    port: str


class TcpSocket(Api, frozen=True):
    """A connection of a probe."""

    port: str


class Probe(Api, frozen=True):
    """A probe of a container; times in seconds."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3


class Capabilities(Api, frozen=True):
    """Linux capabilities."""

    drop: tuple[str, ...]


class SeccompProfile(Api, frozen=True):
    """The profile of system calls."""

    type: str


class ContainerSecurity(Api, frozen=True):
    """What a container may do."""

    allow_privilege_escalation: bool | None = None
    read_only_root_filesystem: bool | None = None
    capabilities: Capabilities | None = None


class PodSecurity(Api, frozen=True):
    """Who the processes of a pod are."""

    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    seccomp_profile: SeccompProfile | None = None


class Variable(Api, frozen=True):
    """An environment variable."""

    name: str
    value: str


class SecretReference(Api, frozen=True):
    """A Secret by name."""

    name: str


class VariablesFrom(Api, frozen=True):
    """The variables that a Secret holds."""

    secret_ref: SecretReference


class Mount(Api, frozen=True):
    """Where a volume is in a container."""

    name: str
    mount_path: str
    read_only: bool = False


class ContainerPort(Api, frozen=True):
    """A port of a container."""

    name: str
    container_port: int


class Container(Api, frozen=True):
    """A container of a pod."""

    name: str
    image: str
    image_pull_policy: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[Variable, ...] = ()
    env_from: tuple[VariablesFrom, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    resources: Mapping[str, Labels] = msgspec.field(default_factory=dict)
    security_context: ContainerSecurity | None = None
    volume_mounts: tuple[Mount, ...] = ()


class ConfigMapVolume(Api, frozen=True):
    """The files of a ConfigMap."""

    name: str


class SecretVolume(Api, frozen=True):
    """The files of a Secret; `default_mode` are their permissions."""

    secret_name: str
    default_mode: int


class EmptyDir(Api, frozen=True):
    """A folder that lives as long as the pod."""

    size_limit: str
    medium: str = ""


class ClaimVolume(Api, frozen=True):
    """A PersistentVolumeClaim."""

    claim_name: str
    read_only: bool = False


class Volume(Api, frozen=True):
    """A volume of a pod: one of its sources."""

    name: str
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    empty_dir: EmptyDir | None = None
    persistent_volume_claim: ClaimVolume | None = None


class Spread(Api, frozen=True):
    """How pods are spread over nodes or zones."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: Selector


class PodSpec(Api, frozen=True):
    """What runs in a pod."""

    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    termination_grace_period_seconds: int = 30
    security_context: PodSecurity | None = None
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_selector: Labels = msgspec.field(default_factory=dict)
    tolerations: Items = ()
    topology_spread_constraints: tuple[Spread, ...] = ()


class PodTemplate(Api, frozen=True):
    """The pods that a Deployment or a StatefulSet makes."""

    metadata: PodMetadata
    spec: PodSpec


class RollingUpdate(Api, frozen=True):
    """How many pods more or fewer there may be during an update."""

    max_surge: int | None = None
    max_unavailable: int | None = None


class Strategy(Api, frozen=True):
    """How a Deployment replaces its pods."""

    type: str
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Api, frozen=True):
    """A Deployment: pods that can replace each other."""

    selector: Selector
    template: PodTemplate
    replicas: int | None = None
    strategy: Strategy | None = None


class StatefulSetSpec(Api, frozen=True):
    """A StatefulSet: pods with names that stay."""

    service_name: str
    selector: Selector
    template: PodTemplate
    replicas: int | None = None
    pod_management_policy: str = "OrderedReady"


class ServicePort(Api, frozen=True):
    """A port of a Service."""

    name: str
    port: int
    target_port: str


class ServiceSpec(Api, frozen=True):
    """A Service; with the address None, its name resolves to the pods."""

    selector: Labels
    ports: tuple[ServicePort, ...]
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
