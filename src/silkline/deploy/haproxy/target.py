"""The files of the target `haproxy`."""

from __future__ import annotations

import math

from silkline.config import Settings
from silkline.deploy.balancer import (
    BACKLOG,
    CHECK_SECONDS,
    CONNECT_SECONDS,
    IDLE_CONNECTIONS,
    MAX_TRIES,
    Balancer,
    Refusal,
)
from silkline.deploy.documents import from_template
from silkline.deploy.target import Files, Target

WINDOW_SECONDS = 10
"""Time over which HAProxy counts a client's requests."""


def haproxy_cfg(balancer: Balancer) -> str:
    """Returns the whole configuration of a HAProxy."""
    deploy, server = balancer.settings.deploy, balancer.settings.server
    return from_template(
        "silkline.deploy.haproxy",
        "haproxy.cfg.jinja",
        balancer=balancer,
        deploy=deploy,
        max_body_bytes=balancer.settings.limits.max_body_bytes,
        check_seconds=CHECK_SECONDS,
        connect_seconds=CONNECT_SECONDS,
        max_tries=MAX_TRIES,
        backlog=BACKLOG,
        idle_connections=IDLE_CONNECTIONS,
        client_seconds=server.keep_alive_timeout,
        drain_seconds=math.ceil(server.lame_duck + server.drain_timeout),
        window_seconds=WINDOW_SECONDS,
        window_requests=math.ceil(deploy.client_rate * WINDOW_SECONDS) + deploy.client_burst,
        key_is_beside=deploy.tls_key == f"{deploy.tls_certificate}.key",
        replies={refusal.status: _reply(refusal) for refusal in balancer.refusals},
    )


def _reply(refusal: Refusal) -> str:
    """The arguments of an answer that HAProxy gives itself."""
    retry = f" hdr retry-after {refusal.retry_seconds}" if refusal.retry_seconds else ""
    return f"status {refusal.status} content-type application/json string '{refusal.body}'{retry}"


def _files(settings: Settings) -> Files:
    return {"haproxy.cfg": haproxy_cfg(Balancer.of(settings))}


HAPROXY = Target("haproxy", "the same in HAProxy, which also checks /ready", _files)
