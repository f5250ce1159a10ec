"""Runs the stages of a ship in order; the journal says which have ended.

A stage that was killed runs again from its beginning, so every stage is idempotent: it finds what
it made before, or makes it again. What a stage found is in the journal before the next one begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from silkline.errors import SilklineError
from silkline.ship.journal import ENDS, Event, Journal, Kind, Ship


class Outcome(NamedTuple):
    """How a stage ended.

    Attributes:
        kind: `DONE`, `SKIPPED` or `REFUSED`.
        about: What was done or why not, in a sentence.
        facts: What later stages need to know.
    """

    kind: Kind
    about: str
    facts: Mapping[str, Any] = {}


Known = Mapping[str, Mapping[str, Any]]
"""The facts of the stages that have ended, by stage."""

Show = Callable[[str, float, float, str], None]
"""Called with the activity, how much is done, how much there is to do, and a detail."""


class Stage(Protocol):
    """A stage of a ship."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    async def run(self, known: Known, show: Show) -> Outcome:
        """Does its work; idempotent. Raises `SilklineError` if it cannot be done now."""
        ...


class State(StrEnum):
    """The state of a ship."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    ABORTED = "aborted"
    DONE = "done"
    """All that was asked for is done, without a promotion."""

    STOPPED = "stopped"
    """Some stages have not ended: `resume` continues."""


async def run(
    ship: Ship, stages: Sequence[Stage], journal: Journal, show: Show, until: str = ""
) -> None:
    """Runs the stages that have not ended, up to the one named `until`, or the one that refuses.

    Args:
        ship: The ship; the journal has it.
        stages: Its stages, in order.
        journal: The journal.
        show: Called with the progress.
        until: The last stage to run; empty runs all.

    Raises:
        SilklineError: A stage cannot be done now; it runs again when the ship is resumed.
    """
    for stage in stages:
        ended = ends_of(journal.events(ship.id))
        if any(event.kind in {Kind.REFUSED, Kind.ABORTED} for event in ended.values()):
            return
        if stage.name not in ended:
            await _run_stage(
                ship, stage, journal, {name: e.facts for name, e in ended.items()}, show
            )
        if stage.name == until:
            return


async def _run_stage(ship: Ship, stage: Stage, journal: Journal, known: Known, show: Show) -> None:
    journal.add(ship.id, stage.name, Kind.BEGAN)
    show(stage.name, 0, 1, "")
    try:
        kind, about, facts = await stage.run(known, show)
    except SilklineError as error:
        journal.add(ship.id, stage.name, Kind.FAILED, error.message)
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):
        journal.add(ship.id, stage.name, Kind.FAILED, "It was interrupted.")
        raise
    journal.add(ship.id, stage.name, kind, about, facts)


def ends_of(events: Sequence[Event]) -> dict[str, Event]:
    """The events that ended a stage, by stage, in order."""
    return {event.stage: event for event in events if event.kind in ENDS}


def state_of(events: Sequence[Event], last: str) -> State:
    """The state of a ship.

    Args:
        events: Its events.
        last: The name of its last stage.
    """
    ended = ends_of(events)
    kinds = {event.kind for event in ended.values()}
    if Kind.ABORTED in kinds:
        return State.ABORTED
    if Kind.REFUSED in kinds:
        rolled_back = any("rolled_back" in event.facts for event in ended.values())
        return State.ROLLED_BACK if rolled_back else State.REFUSED
    if last not in ended:
        return State.STOPPED
    return State.PROMOTED if ended[last].kind is Kind.DONE else State.DONE
