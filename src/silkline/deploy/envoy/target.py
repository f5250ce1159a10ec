"""The files of the target `envoy`."""

from __future__ import annotations

import math

from silkline.config import Settings
from silkline.deploy.balancer import (
    BACKLOG,
    CHECK_SECONDS,
    CONNECT_SECONDS,
    EJECT_SECONDS,
    MAX_TRIES,
    Balancer,
)
from silkline.deploy.documents import from_template
from silkline.deploy.target import Files, Target

CLIENTS = 100
"""Clients at their limit that an Envoy lets through; its own limit is for all clients together."""


def _files(settings: Settings) -> Files:
    balancer, deploy = Balancer.of(settings), settings.deploy
    text = from_template(
        "silkline.deploy.envoy",
        "envoy.yaml.jinja",
        balancer=balancer,
        deploy=deploy,
        check_seconds=CHECK_SECONDS,
        connect_seconds=CONNECT_SECONDS,
        eject_seconds=EJECT_SECONDS,
        max_tries=MAX_TRIES,
        backlog=BACKLOG,
        client_seconds=settings.server.keep_alive_timeout,
        max_body_bytes=settings.limits.max_body_bytes,
        total_rate=math.ceil(CLIENTS * deploy.client_rate),
        total_burst=max(1, CLIENTS * deploy.client_burst),
        bodies={refusal.status: refusal.body for refusal in balancer.refusals},
    )
    return {"envoy.yaml": text}


ENVOY = Target("envoy", "the same in Envoy, with a limit for all clients together", _files)
