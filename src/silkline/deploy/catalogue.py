"""All targets of `silkline render`."""

from __future__ import annotations

from silkline.deploy.alertmanager.target import ALERTMANAGER
from silkline.deploy.ci.target import CI
from silkline.deploy.compose.target import COMPOSE
from silkline.deploy.elastic.target import ELASTIC
from silkline.deploy.envoy.target import ENVOY
from silkline.deploy.grafana.target import GRAFANA
from silkline.deploy.haproxy.target import HAPROXY
from silkline.deploy.kubernetes.target import HELM, KUBERNETES
from silkline.deploy.nginx.target import NGINX
from silkline.deploy.prometheus.target import PROMETHEUS
from silkline.deploy.systemd.target import JETSON, SYSTEMD
from silkline.deploy.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        PROMETHEUS,
        ALERTMANAGER,
        GRAFANA,
        ELASTIC,
        NGINX,
        HAPROXY,
        ENVOY,
        COMPOSE,
        KUBERNETES,
        HELM,
        SYSTEMD,
        JETSON,
        CI,
    )
}
"""The targets by name, in the order of the help."""
