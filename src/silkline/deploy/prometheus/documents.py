"""Rule files of Prometheus as typed objects.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/,
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

import msgspec

from silkline.deploy.documents import Document


class Recording(Document, frozen=True):
    """A recording rule: an expression whose result is kept under a name."""

    record: str
    expr: str


class AlertRule(Document, rename={"hold": "for"}, frozen=True):
    """An alerting rule; `hold` is how long the expression must be true."""

    alert: str
    expr: str
    hold: str
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Group(Document, frozen=True):
    """Rules that are evaluated one after the other."""

    name: str
    rules: tuple[Recording | AlertRule, ...]


class RuleFile(Document, frozen=True):
    """A rule file."""

    groups: tuple[Group, ...]
