"""The stage that plans for the traffic."""

from __future__ import annotations

from silkline.errors import ConfigError
from silkline.ship.journal import Kind
from silkline.ship.machine import Known, Outcome, Show
from silkline.ship.plan import ShipPlan

PLAN = "plan"


def check_traffic(traffic: str) -> None:
    """Checks that the traffic can be planned for, if any is named.

    Raises:
        ConfigError: It cannot.
    """
    if traffic:
        raise ConfigError(
            f"The stage plan is refused: this version of Silkline cannot plan for {traffic}. Leave "
            "out --traffic, and name the latency to keep by --slo."
        )


class Plan:
    """Sizes the deployment for the traffic."""

    name = PLAN

    def __init__(self, plan: ShipPlan) -> None:
        self._plan = plan

    async def run(self, known: Known, show: Show) -> Outcome:
        """Has nothing to do where no traffic is named."""
        del known, show
        check_traffic(self._plan.traffic)
        return Outcome(Kind.SKIPPED, "No --traffic is named.")
