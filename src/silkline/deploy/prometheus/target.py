"""The files of the target `prometheus`."""

from __future__ import annotations

from silkline.config import Settings
from silkline.deploy.documents import to_yaml
from silkline.deploy.prometheus.scrape import prometheus_yml
from silkline.deploy.target import Files, Target

_COMMAND = "silkline render prometheus"


def _files(settings: Settings) -> Files:
    return {"prometheus.yml": to_yaml(prometheus_yml(settings), _COMMAND)}


PROMETHEUS = Target("prometheus", "what Prometheus scrapes, records and alerts on", _files)
