"""The files of the target `prometheus`."""

from __future__ import annotations

from silkline.config import Settings
from silkline.deploy.documents import to_yaml
from silkline.deploy.prometheus.alerts import all_alerts
from silkline.deploy.prometheus.documents import Group, RuleFile
from silkline.deploy.prometheus.recording import recording_groups
from silkline.deploy.prometheus.scrape import prometheus_yml
from silkline.deploy.target import Files, Target

_COMMAND = "silkline render prometheus"


def _files(settings: Settings) -> Files:
    url = settings.monitoring.runbooks_url
    alerts = tuple(alert.rule(url) for alert in all_alerts(settings))
    documents = {
        "prometheus.yml": prometheus_yml(settings),
        "rules/recording.yml": RuleFile(recording_groups()),
        "rules/alerts.yml": RuleFile((Group("silkline-alerts", alerts),)),
    }
    return {name: to_yaml(document, _COMMAND) for name, document in documents.items()}


PROMETHEUS = Target("prometheus", "what Prometheus scrapes, records and alerts on", _files)
