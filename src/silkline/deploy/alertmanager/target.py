"""`alertmanager.yml`: groups alerts by model, and sends pages at once and tickets slowly.

https://prometheus.io/docs/alerting/latest/configuration/
"""

from __future__ import annotations

from silkline.config import Settings
from silkline.deploy.documents import Document, to_yaml
from silkline.deploy.prometheus.alert import Severity
from silkline.deploy.target import Files, Target

RECEIVER = "operators"


class _Route(Document, frozen=True):
    receiver: str
    matchers: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    group_wait: str = ""
    group_interval: str = ""
    repeat_interval: str = ""
    routes: tuple[_Route, ...] = ()


class _Webhook(Document, frozen=True):
    url: str
    send_resolved: bool


class _Receiver(Document, frozen=True):
    name: str
    webhook_configs: tuple[_Webhook, ...] = ()


class _Inhibition(Document, frozen=True):
    source_matchers: tuple[str, ...]
    target_matchers: tuple[str, ...]
    equal: tuple[str, ...] = ()


class _Alertmanager(Document, frozen=True):
    route: _Route
    receivers: tuple[_Receiver, ...]
    inhibit_rules: tuple[_Inhibition, ...]


def alertmanager_yml(settings: Settings) -> Document:
    """Returns the configuration of an Alertmanager for the alerts of the target `prometheus`."""
    url = settings.monitoring.alert_webhook
    hooks = (_Webhook(url, send_resolved=True),) if url else ()
    page, ticket = f'severity="{Severity.PAGE}"', f'severity="{Severity.TICKET}"'
    return _Alertmanager(
        _Route(
            RECEIVER,
            group_by=("alertname", "model"),
            group_wait="1m",
            group_interval="10m",
            repeat_interval="1d",
            routes=(_Route(RECEIVER, (page,), group_wait="10s", repeat_interval="1h"),),
        ),
        (_Receiver(RECEIVER, hooks),),
        (
            # A server that is down explains what else is wrong with it.
            _Inhibition(
                ('alertname="SilklineDown"',), ('alertname!="SilklineDown"',), ("instance",)
            ),
            _Inhibition((page, 'objective!=""'), (ticket,), ("model", "objective")),
        ),
    )


def _files(settings: Settings) -> Files:
    return {"alertmanager.yml": to_yaml(alertmanager_yml(settings), "silkline render alertmanager")}


ALERTMANAGER = Target("alertmanager", "who gets which alert, and how often", _files)
