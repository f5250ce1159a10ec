"""Alerts on the budgets of the service level objectives: several windows, several burn rates.

A burn rate of 1 uses up the budget of 30 days in 30 days. An alert needs the burn rate in a long
window, so that it is about much, and in a short one, so that it ends soon after the fault. It also
needs `slo_min_misses` misses in the long window: with few questions, one failure is a high rate.
The windows and rates are those of https://sre.google/workbook/alerting-on-slos/, table 5-8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from silkline.config import SloSettings
from silkline.deploy.prometheus.alert import Alert, Severity
from silkline.deploy.prometheus.recording import MISS_RATIO
from silkline.observe.objectives import Objective, shares

MAX_THRESHOLD = 0.9
"""A share of misses that is always too high, even where the burn rate allows more."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A burn rate, and the windows in which it is looked for."""

    rate: float
    long: str
    short: str


MINUTES = {"1h": 60, "6h": 6 * 60, "1d": 24 * 60, "3d": 3 * 24 * 60}
"""The minutes of the long windows."""

HOLD_MINUTES = 2
"""How long the burn rates must hold."""

FAST = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
SLOW = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))

_NAMES = {
    Objective.AVAILABILITY: "Availability",
    Objective.LATENCY: "Latency",
    Objective.FIRST_TOKEN: "FirstToken",
}

_MISSED = {
    Objective.AVAILABILITY: "fail",
    Objective.LATENCY: "are answered too slowly",
    Objective.FIRST_TOKEN: "get their first token too late",
}


def slo_alerts(slo: SloSettings) -> tuple[Alert, ...]:
    """Returns two alerts for each objective: the budget burns fast (page) or slowly (ticket)."""
    return tuple(
        Alert(
            name=f"Silkline{_NAMES[objective]}BudgetBurns{speed}",
            expr=_expression(objective, 1 - share, burns, slo.slo_min_misses),
            hold=f"{HOLD_MINUTES}m",
            severity=severity,
            summary=f"Questions to {{{{ $labels.model }}}} {_MISSED[objective]}",
            detail=f"{{{{ $value | humanizePercentage }}}} of them missed the objective, of which "
            f"{share:.4g} must be met.",
            fault=f"{fault} {_MISSED[objective]}",
            within_minutes=_within(1 - share, burns, misses),
            labels={"objective": objective.value},
        )
        for objective, share in shares(slo).items()
        for speed, burns, severity, fault, misses in (
            ("Fast", FAST, Severity.PAGE, "all questions", 1.0),
            ("Slowly", SLOW, Severity.TICKET, "5 times the allowed share", 5 * (1 - share)),
        )
    )


def _within(budget: float, burns: tuple[Burn, ...], misses: float) -> int:
    """Minutes until a share of misses fills a long window, after no misses, and two evaluations."""
    filled = min(
        MINUTES[burn.long] * min(burn.rate * budget, MAX_THRESHOLD) / misses for burn in burns
    )
    return math.ceil(filled) + HOLD_MINUTES + 2


def _expression(
    objective: Objective, budget: float, burns: tuple[Burn, ...], min_misses: int
) -> str:
    return "\nor\n".join(_burning(objective, budget, burn, min_misses) for burn in burns)


def _burning(objective: Objective, budget: float, burn: Burn, min_misses: int) -> str:
    only = f'{{objective="{objective.value}"}}'
    threshold = f"{min(burn.rate * budget, MAX_THRESHOLD):.6g}"
    misses = f"increase(silkline_slo_misses_total{only}[{burn.long}])"
    return (
        f"{MISS_RATIO}{burn.long}{only} > {threshold}\n"
        f"and {MISS_RATIO}{burn.short}{only} > {threshold}\n"
        f"and sum by (model, objective) ({misses}) >= {min_misses}"
    )
