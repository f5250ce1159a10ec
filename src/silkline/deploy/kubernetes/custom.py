"""Objects of others than Kubernetes itself: the Prometheus operator, KEDA, KServe, Gateway API.

https://prometheus-operator.dev/docs/api-reference/api/, https://keda.sh/docs/latest/reference/,
https://kserve.github.io/website/docs/reference/crd-api,
https://gateway-api-inference-extension.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from collections.abc import Mapping

from silkline.deploy.kubernetes.api import Api, Container, Labels, Selector
from silkline.deploy.kubernetes.policies import Behavior


class Relabeling(Api, frozen=True):
    """Which metrics are kept or dropped."""

    source_labels: tuple[str, ...]
    regex: str
    action: str


class SecretKey(Api, frozen=True):
    """A key of a Secret."""

    name: str
    key: str


class Authorization(Api, frozen=True):
    """The API key with which metrics are read."""

    credentials: SecretKey


class Endpoint(Api, frozen=True):
    """What is scraped of each pod."""

    port: str
    interval: str
    authorization: Authorization | None = None
    metric_relabelings: tuple[Relabeling, ...] = ()


class ServiceMonitorSpec(Api, frozen=True):
    """A ServiceMonitor."""

    job_label: str
    selector: Selector
    endpoints: tuple[Endpoint, ...]


class ScaleTarget(Api, frozen=True):
    """What KEDA scales."""

    kind: str
    name: str


class Trigger(Api, frozen=True):
    """A metric that KEDA looks at."""

    type: str
    metadata: Labels
    name: str = ""
    metric_type: str = ""


class AutoscalerConfig(Api, frozen=True):
    """Settings of the autoscaler that KEDA makes."""

    behavior: Behavior


class Advanced(Api, frozen=True):
    """The autoscaler that KEDA makes."""

    horizontal_pod_autoscaler_config: AutoscalerConfig


class ScaledObjectSpec(Api, frozen=True):
    """A ScaledObject."""

    scale_target_ref: ScaleTarget
    min_replica_count: int
    max_replica_count: int
    cooldown_period: int
    advanced: Advanced
    triggers: tuple[Trigger, ...]
    polling_interval: int = 30


class ModelFormat(Api, frozen=True):
    """A format of models."""

    name: str
    version: str
    auto_select: bool = False


class ServingRuntimeSpec(Api, frozen=True):
    """A ServingRuntime."""

    supported_model_formats: tuple[ModelFormat, ...]
    containers: tuple[Container, ...]


class PortNumber(Api, frozen=True):
    """A port by number."""

    number: int


class EndpointPicker(Api, frozen=True):
    """The service that picks a pod for each request."""

    name: str
    port: PortNumber


class InferencePoolSpec(Api, frozen=True):
    """An InferencePool."""

    selector: Mapping[str, Labels]
    target_ports: tuple[PortNumber, ...]
    endpoint_picker_ref: EndpointPicker
