"""The stage that plans for the traffic."""

from __future__ import annotations

import asyncio
import os

from silkline.engines.registry import judge
from silkline.errors import ConfigError
from silkline.models.inspection import inspect_model
from silkline.models.resolve import locate_model
from silkline.optimize.requirements import Kind as About
from silkline.plan.devices import DEVICES
from silkline.plan.page import plan_page
from silkline.plan.plan import Plan as Planned
from silkline.plan.plan import make_plan
from silkline.plan.shape import shape_of
from silkline.plan.workload import Workload, parse_rate
from silkline.ship.journal import Kind
from silkline.ship.machine import Known, Outcome, Show
from silkline.ship.plan import ShipPlan

PLAN = "plan"
PAGE = "plan.html"

_P99 = 0.99


def check_traffic(plan: ShipPlan) -> None:
    """Checks that the traffic can be planned for, if any is named.

    Raises:
        ConfigError: It is no rate, or no P99 is required.
    """
    if plan.traffic:
        parse_rate(plan.traffic)
        _slo(plan)


def _slo(plan: ShipPlan) -> float:
    for each in plan.judging.requirements:
        if each.kind is About.LATENCY and each.share == _P99 and not each.relative:
            return each.limit
    raise ConfigError("--traffic is planned for a P99. Name it: --slo p99=420ms.")


class Plan:
    """Estimates which devices serve the model before the candidate is made; refuses nothing."""

    name = PLAN

    def __init__(self, plan: ShipPlan) -> None:
        self._plan = plan

    async def run(self, known: Known, show: Show) -> Outcome:
        """Writes the page of the plan where traffic is named."""
        del known, show
        if not self._plan.traffic:
            return Outcome(Kind.SKIPPED, "No --traffic is named.")
        made = await asyncio.to_thread(planned, self._plan)
        page = self._plan.work / PAGE
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(plan_page(made, self._plan.command), encoding="utf-8")
        if not made.choices:
            return Outcome(Kind.DONE, f"No device of the table keeps the P99; see {page}.")
        best = made.choices[0]
        return Outcome(
            Kind.DONE,
            f"A first estimate, without the answer cache: {best.replicas} replicas of "
            f"{best.device} in {best.bits} bits; see {page}.",
            {"device": best.device, "bits": best.bits, "replicas": best.replicas},
        )


def planned(plan: ShipPlan) -> Planned:
    """The plan for the model as it is, with images and prompts of a usual size."""
    work = Workload(parse_rate(plan.traffic), _slo(plan), answer_tokens=plan.subject.max_tokens)
    found = inspect_model(locate_model(plan.model, os.environ), judge, [work.image])
    return make_plan(shape_of(found), work, DEVICES.values())
