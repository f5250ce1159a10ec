"""Objects whose types are not part of Kubernetes: monitoring, KServe, the Gateway API."""

from __future__ import annotations

from collections.abc import Iterator

from silkline.deploy.kubernetes import api, custom
from silkline.deploy.kubernetes.nodes import Condition, given, why
from silkline.deploy.kubernetes.parts import (
    ENGINE,
    GATEWAY,
    PORT_NAME,
    File,
    Parts,
    container_security,
)
from silkline.deploy.kubernetes.site import PORT
from silkline.deploy.prometheus.alerts import all_alerts
from silkline.deploy.prometheus.documents import Group, RuleFile
from silkline.deploy.prometheus.recording import recording_groups
from silkline.deploy.prometheus.scrape import JOB, SCRAPE_SECONDS

_KSERVE_PORT = 8080
_OF_ENGINES = "silkline_(replica|machine|gpu|model|gate)_.*"
_NOT_OF_GATEWAYS = "silkline_replica_(busy|slot)_seconds_total"


def extra_files(parts: Parts) -> Iterator[File]:
    """Returns the files that need types of others."""
    values = parts.values
    monitors = Condition(values.monitors)
    folder = "prometheus-operator"
    yield File("gateway-monitor.yaml", "Scrapes the gateways.",
               _monitor(parts, GATEWAY, _drop(_NOT_OF_GATEWAYS)), monitors, folder)  # fmt: skip
    yield File("engine-monitor.yaml", "Scrapes the engines.",
               _monitor(parts, ENGINE, _keep(_OF_ENGINES)), monitors, folder)  # fmt: skip
    yield File(
        "rules.yaml",
        "The recording rules and alerts of the target prometheus.",
        _rules(parts),
        monitors,
        folder,
    )
    yield File(
        "serving-runtime.yaml",
        "Lets an InferenceService of KServe serve its model by Silkline: one pod with gateway and "
        "engine.",
        _runtime(parts),
        Condition(values.runtime),
        "kserve",
    )
    yield File(
        "inference-pool.yaml",
        "The engines for a Gateway API with an endpoint picker in place of our gateways, which "
        "then do not fetch or check images, cache or limit.",
        _pool(parts),
        Condition(values.pool),
        "inference-pool",
    )


def _keep(metrics: str) -> custom.Relabeling:
    return why(
        "An engine counts the requests of gateways again: what clients see is counted by gateways.",
        custom.Relabeling(("__name__",), metrics, "keep"),
    )


def _drop(metrics: str) -> custom.Relabeling:
    return why(
        "The engines count this themselves; a gateway has 0 for servers.",
        custom.Relabeling(("__name__",), metrics, "drop"),
    )


def _monitor(parts: Parts, part: str, relabeling: custom.Relabeling) -> api.Object:
    keys = parts.values.gateway_keys
    key = custom.Authorization(custom.SecretKey(keys.node, "metrics-key"))
    endpoint = custom.Endpoint(
        PORT_NAME,
        f"{SCRAPE_SECONDS}s",
        authorization=given(Condition(keys), key) if part == GATEWAY else None,
        metric_relabelings=(relabeling,),
    )
    job = why("The alerts look for this job.", "app.kubernetes.io/name")
    spec = custom.ServiceMonitorSpec(job, parts.selects(part), (endpoint,))
    return parts.object("monitoring.coreos.com/v1", "ServiceMonitor", part, spec)


def _rules(parts: Parts) -> api.Object:
    url = parts.settings.monitoring.runbooks_url
    alerts = tuple(alert.rule(url) for alert in all_alerts(parts.settings))
    rules = RuleFile((*recording_groups(), Group("silkline-alerts", alerts)))
    return parts.object("monitoring.coreos.com/v1", "PrometheusRule", JOB, rules)


def _runtime(parts: Parts) -> api.Object:
    container = api.Container(
        name="kserve-container",
        image=parts.values.image.node,
        image_pull_policy=parts.values.pull_policy.node,
        command=("silkline", "up"),
        args=(
            "/mnt/models",
            "--host=0.0.0.0",
            f"--port={_KSERVE_PORT}",
            why("KServe's own entry asks for credentials.", "--allow-anyone"),
        ),
        ports=(api.ContainerPort("http1", _KSERVE_PORT),),
        resources=parts.values.engine_resources.node,
        security_context=container_security(),
    )
    formats = tuple(
        custom.ModelFormat(name, "1", auto_select=name == "silkline")
        for name in ("silkline", "huggingface")
    )
    spec = custom.ServingRuntimeSpec(formats, (container,))
    return parts.object("serving.kserve.io/v1alpha1", "ServingRuntime", ENGINE, spec)


def _pool(parts: Parts) -> api.Object:
    spec = custom.InferencePoolSpec(
        {"matchLabels": parts.selector(ENGINE)},
        (custom.PortNumber(PORT),),
        custom.EndpointPicker(parts.name("endpoint-picker"), custom.PortNumber(9002)),
    )
    return parts.object("inference.networking.k8s.io/v1", "InferencePool", ENGINE, spec)
