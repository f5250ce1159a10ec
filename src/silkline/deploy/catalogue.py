"""All targets of `silkline render`."""

from __future__ import annotations

from silkline.deploy.prometheus.target import PROMETHEUS
from silkline.deploy.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (PROMETHEUS,)}
