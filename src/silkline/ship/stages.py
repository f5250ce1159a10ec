"""All stages of a ship, in order."""

from __future__ import annotations

from silkline.service.pool import OnNotice
from silkline.ship.building import (
    BUNDLE,
    EVALUATE,
    GATE_STAGE,
    OPTIMISE,
    Evaluate,
    Gate,
    Optimise,
    Pack,
)
from silkline.ship.live import CANARY_STAGE, DEPLOY, PROMOTE, Canary, Deploy, Live, Promote
from silkline.ship.machine import Stage
from silkline.ship.plan import ShipPlan
from silkline.ship.planning import PLAN, Plan
from silkline.ship.rendering import RENDER, Render

NAMES = (PLAN, OPTIMISE, EVALUATE, GATE_STAGE, BUNDLE, RENDER, DEPLOY, CANARY_STAGE, PROMOTE)
"""The stages' names, in order."""


def stages_of(plan: ShipPlan, began: float, on_notice: OnNotice) -> list[Stage]:
    """The stages of a ship.

    Args:
        plan: What is shipped.
        began: Unix time in seconds at which it began.
        on_notice: Called with notices for the user.
    """
    live = Live(plan)
    return [
        Plan(plan),
        Optimise(plan, on_notice),
        Evaluate(plan, on_notice),
        Gate(plan, on_notice),
        Pack(plan, began),
        Render(plan, live),
        Deploy(plan, live),
        Canary(plan, live),
        Promote(plan, live),
    ]
