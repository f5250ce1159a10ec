"""The stage that writes the configuration of the server that the bundle goes to."""

from __future__ import annotations

from pathlib import Path

from silkline.deploy.catalogue import TARGETS
from silkline.deploy.output import compare, write
from silkline.errors import ConfigError
from silkline.ship.journal import Kind
from silkline.ship.live import Live
from silkline.ship.machine import Known, Outcome, Show
from silkline.ship.plan import RENDERED, ShipPlan, To

RENDER = "render"


def check_target(to: To) -> None:
    """Checks that there is what renders a target.

    Raises:
        ConfigError: There is not.
    """
    if to is not To.LOCAL and to.value not in TARGETS:
        raise ConfigError(
            f"This version of Silkline renders no {to}. Use --to local, or --until bundle."
        )


class Render:
    """Writes the configuration, unless a server answers that has its own."""

    name = RENDER

    def __init__(self, plan: ShipPlan, live: Live) -> None:
        self._plan = plan
        self._live = live

    async def run(self, known: Known, show: Show) -> Outcome:
        """Writes the files; the same settings give the same bytes."""
        del known
        show("rendering", 0, 1, "")
        to = self._plan.destination.to
        check_target(to)
        if to is not To.LOCAL:
            folder = self._plan.work / RENDERED / to
            for file in compare(folder, TARGETS[to].render(self._plan.settings)):
                write(file)
            return Outcome(Kind.DONE, f"Wrote {folder}.")
        written: Path | None = await self._live.render()
        if written is None:
            about = f"The server at {self._live.url} keeps its settings."
            return Outcome(Kind.SKIPPED, about)
        return Outcome(Kind.DONE, f"Wrote {written}.")
