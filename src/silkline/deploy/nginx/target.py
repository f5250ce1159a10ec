"""The files of the target `nginx`."""

from __future__ import annotations

from silkline.config import Settings
from silkline.deploy.balancer import (
    BACKLOG,
    CONNECT_SECONDS,
    EJECT_SECONDS,
    IDLE_CONNECTIONS,
    MAX_TRIES,
    Balancer,
)
from silkline.deploy.documents import from_template
from silkline.deploy.target import Files, Target


def nginx_conf(balancer: Balancer) -> str:
    """Returns what nginx includes in its `http` block."""
    return from_template(
        "silkline.deploy.nginx",
        "silkline.conf.jinja",
        balancer=balancer,
        deploy=balancer.settings.deploy,
        max_body_bytes=balancer.settings.limits.max_body_bytes,
        connect_seconds=CONNECT_SECONDS,
        eject_seconds=EJECT_SECONDS,
        max_tries=MAX_TRIES,
        backlog=BACKLOG,
        idle_connections=IDLE_CONNECTIONS,
        client_seconds=balancer.settings.server.keep_alive_timeout,
        variable=balancer.settings.deploy.deployment.replace("-", "_"),
        rate=_rate(balancer.settings.deploy.client_rate),
    )


def _rate(per_second: float) -> str:
    """A rate as nginx reads it: whole requests a second or a minute."""
    if per_second.is_integer():
        return f"{per_second:.0f}r/s"
    return f"{max(1, round(60 * per_second))}r/m"


def _files(settings: Settings) -> Files:
    return {"silkline.conf": nginx_conf(Balancer.of(settings))}


NGINX = Target("nginx", "a load balancer in front of gateways: weights, limits, TLS", _files)
