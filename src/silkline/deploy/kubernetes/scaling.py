"""What scales gateways and engines: HorizontalPodAutoscalers, or KEDA.

A metric in seconds or a ratio scales by `Value`: replicas times metric divided by target. That is
right for both: twice the replicas halve the seconds of queued work, and the load of each.
"""

from __future__ import annotations

from collections.abc import Iterator

from silkline.deploy.kubernetes import api, custom, policies
from silkline.deploy.kubernetes.nodes import Condition, Value, given, text, why
from silkline.deploy.kubernetes.parts import ENGINE, GATEWAY, File, Parts
from silkline.deploy.prometheus.recording import BACKLOG, ENGINES_BUSY, SATURATION

METRICS = {"backlog": BACKLOG, "saturation": SATURATION, "busy": ENGINES_BUSY}
"""The recorded series of each metric of `autoscale` but `cpu`, by model."""

_ROUTES = "/v1/(chat/)?(completions|responses|messages)|/predict"
DEMAND = f'sum(increase(silkline_requests_total{{route=~"{_ROUTES}"}}[2m]))'
"""Requests to models, also those that found no engine."""

_UP_SECONDS = 15
_COOLDOWN = 300


def external_name(metric: str) -> str:
    """The name under which an adapter provides a metric."""
    return METRICS[metric].replace(":", "_")


def query_of(metric: str) -> str:
    """The expression of a metric, of the model that needs the most engines."""
    return f"max({METRICS[metric]})"


def scaling_files(parts: Parts) -> Iterator[File]:
    """Returns the autoscalers, and KEDA's objects in their place."""
    by_hpa = Condition(parts.values.scaler, "hpa")
    by_keda = Condition(parts.values.scaler, "keda")
    scaled = Condition(parts.values.scaler, "none", negated=True)
    yield File(
        "gateway-autoscaler.yaml",
        "Gateways decode images, so their CPU is what runs out.",
        _gateways(parts),
        scaled,
    )
    yield File(
        "engine-autoscaler.yaml",
        "Engines scale on Silkline's own metrics, which an adapter provides: see "
        "prometheus-adapter/values.yaml. The metric that asks for the most engines decides.",
        _engines(parts),
        by_hpa,
    )
    yield File(
        "engine-scaled-object.yaml",
        "KEDA asks Prometheus itself, and stops the last engine too.",
        _scaled_object(parts),
        by_keda,
    )


def adapter_values() -> object:
    """Returns the values of the chart of prometheus-adapter, with one rule for each metric."""
    return {
        "rules": {
            "external": [
                {
                    "seriesQuery": metric,
                    "resources": {"namespaced": False},
                    "name": {"matches": f"^{metric}$", "as": external_name(key)},
                    "metricsQuery": "max(<<.Series>>)",
                }
                for key, metric in METRICS.items()
            ]
        }
    }


def _gateways(parts: Parts) -> api.Object:
    values = parts.values
    spec = policies.AutoscalerSpec(
        policies.Target("apps/v1", "Deployment", parts.name(GATEWAY)),
        values.gateway_replicas.node,
        values.gateway_max.node,
        (_cpu(values.gateway_cpu.node),),
        _behavior(parts),
    )
    return parts.object("autoscaling/v2", "HorizontalPodAutoscaler", GATEWAY, spec)


def _engines(parts: Parts) -> api.Object:
    values = parts.values
    spec = policies.AutoscalerSpec(
        policies.Target("apps/v1", "StatefulSet", parts.name(ENGINE)),
        values.engine_replicas.node,
        values.engine_max.node,
        (
            *(
                given(Condition(value), _external(key, text(value)))
                for key, value in _targets(parts).items()
            ),
            given(Condition(values.cpu), _cpu(values.cpu.node)),
        ),
        _behavior(parts),
    )
    return parts.object("autoscaling/v2", "HorizontalPodAutoscaler", ENGINE, spec)


def _targets(parts: Parts) -> dict[str, Value[float]]:
    values = parts.values
    return {"backlog": values.backlog, "saturation": values.saturation, "busy": values.busy}


def _cpu(percent: int) -> policies.Metric:
    target = policies.MetricTarget("Utilization", average_utilization=percent)
    return policies.Metric("Resource", resource=policies.ResourceMetric("cpu", target))


def _external(metric: str, target: str) -> policies.Metric:
    name = policies.MetricName(external_name(metric))
    wanted = policies.MetricTarget("Value", value=target)
    return policies.Metric("External", external=policies.ExternalMetric(name, wanted))


def _behavior(parts: Parts) -> policies.Behavior:
    """Doubles quickly, and stops half of the replicas a minute once load has been lower."""
    up = (policies.Policy("Percent", 100, _UP_SECONDS), policies.Policy("Pods", 2, _UP_SECONDS))
    down = (policies.Policy("Percent", 50, 60),)
    return policies.Behavior(
        why("A queue is there now: replicas are added at once.", policies.Rules(0, up)),
        why(
            "An engine takes minutes to start, so it stays for a while.",
            policies.Rules(parts.values.scale_down.node, down),
        ),
    )


def _scaled_object(parts: Parts) -> api.Object:
    values = parts.values
    demand = custom.Trigger(
        "prometheus",
        {
            "serverAddress": values.prometheus.node,
            "query": DEMAND,
            "threshold": "1000000",
            "activationThreshold": "0",
        },
        "demand",
        "Value",
    )
    triggers = (
        why("Only starts the first engine: its threshold asks for no second one.", demand),
        *(
            given(Condition(value), _trigger(parts, key, text(value)))
            for key, value in _targets(parts).items()
        ),
        given(Condition(values.cpu), custom.Trigger(
            "cpu", {"value": text(values.cpu)}, "cpu", "Utilization")),
    )  # fmt: skip
    spec = custom.ScaledObjectSpec(
        custom.ScaleTarget("StatefulSet", parts.name(ENGINE)),
        values.engine_replicas.node,
        values.engine_max.node,
        why("Seconds without a request until the last engine stops.", _COOLDOWN),
        custom.Advanced(custom.AutoscalerConfig(_behavior(parts))),
        triggers,
        15,
    )
    return parts.object("keda.sh/v1alpha1", "ScaledObject", ENGINE, spec)


def _trigger(parts: Parts, metric: str, threshold: str) -> custom.Trigger:
    about = {
        "serverAddress": parts.values.prometheus.node,
        "query": query_of(metric),
        "threshold": threshold,
    }
    return custom.Trigger("prometheus", about, metric, "Value")
