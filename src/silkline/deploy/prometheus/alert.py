"""What an alert is, and the rule that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from silkline.deploy.prometheus.documents import AlertRule


class Severity(StrEnum):
    """Who must act, and when."""

    PAGE = "page"
    """Users notice it; somebody acts now."""
    TICKET = "ticket"
    """Somebody acts in working hours."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert.

    Attributes:
        name: Its name, which is the title of its runbook.
        expr: The expression that is true while it is wrong.
        hold: How long the expression must be true.
        severity: Who must act.
        summary: What is wrong, in one line; a template of Prometheus.
        detail: With which values; the same.
        fault: What it is about, as the beginning of the time until it fires.
        within_minutes: Maximum minutes from that fault until it fires; a test holds it.
        labels: More labels.
    """

    name: str
    expr: str
    hold: str
    severity: Severity
    summary: str
    detail: str
    fault: str
    within_minutes: int
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """The anchor of its runbook: the title in small letters."""
        return self.name.lower()

    def rule(self, runbooks_url: str) -> AlertRule:
        """Returns the alerting rule, which links to the runbook."""
        return AlertRule(
            self.name,
            self.expr,
            self.hold,
            {"severity": self.severity.value, **self.labels},
            {
                "summary": self.summary,
                "description": self.detail,
                "runbook_url": f"{runbooks_url}#{self.anchor}",
            },
        )
