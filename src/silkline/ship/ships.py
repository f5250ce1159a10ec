"""Starts, continues, shows and ends the ships of a store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.file_lock import try_lock
from silkline.service.pool import OnNotice
from silkline.ship.admin import NotThere, call
from silkline.ship.building import BUNDLE
from silkline.ship.estimate import Step, estimate
from silkline.ship.journal import IN_MEMORY, Event, Journal, Kind, Ship
from silkline.ship.live import CANDIDATE_DIGITS, DEPLOY, path_of_experiment, path_of_model
from silkline.ship.machine import Show, State, ends_of, run, state_of
from silkline.ship.plan import JOURNAL, LOCK, ShipPlan
from silkline.ship.stages import NAMES, stages_of


class Status(NamedTuple):
    """A ship and how far it is.

    Attributes:
        ship: The ship.
        state: Its state.
        events: Its events.
    """

    ship: Ship
    state: State
    events: list[Event]


@contextmanager
def alone(store: Path) -> Iterator[None]:
    """Lets one process at a time change a store; the system ends that when the process dies.

    Raises:
        ConfigError: Another process does.
        EnvironmentFault: The folder cannot be written.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock = (store / LOCK).open("ab")
    except OSError as error:
        raise EnvironmentFault(
            f"{store} cannot be written: {error.strerror}. Choose another folder by --store."
        ) from error
    with lock:
        if not try_lock(lock):
            raise ConfigError(
                f"Another command ships with {store} now. Wait for it, or choose another --store."
            )
        yield


def journal_of(store: Path, *, create: bool = False) -> Journal:
    """The journal of a store; use it as a context manager.

    Args:
        store: The store.
        create: Whether it is created if it is missing; else an empty one is in memory only.
    """
    path = store / JOURNAL
    return Journal(path if create or path.is_file() else IN_MEMORY)


async def ship(
    plan: ShipPlan, journal: Journal, show: Show, on_notice: OnNotice, until: str
) -> Status:
    """Ships, or continues where the same ship was stopped.

    Args:
        plan: What is shipped.
        journal: The store's journal.
        show: Called with the progress.
        on_notice: Called with notices for the user.
        until: The last stage to run; empty runs all.

    Raises:
        SilklineError: A stage cannot be done now; the same command continues.
    """
    wanted = Ship(plan.id, plan.command, dict(plan.arguments), plan.identity, time.time())
    journal.begin(wanted)
    known = find(journal, plan.id)
    await run(known.ship, stages_of(plan, known.ship.at, on_notice), journal, show, until)
    return find(journal, plan.id)


def would_do(plan: ShipPlan, journal: Journal) -> list[Step]:
    """What `ship` would do, and how long it would take."""
    past: list[Event] = []
    ended: Mapping[str, Event] = {}
    for each in statuses(journal):
        if each.ship.id == plan.id:
            ended = ends_of(each.events)
        elif not past and each.ship.identity.get("how") == plan.source.how:
            past = each.events
    return estimate(plan, ended, past)


def statuses(journal: Journal) -> list[Status]:
    """All ships, the last one first."""
    return [_status(journal, each) for each in journal.ships()]


def find(journal: Journal, id_: str = "") -> Status:
    """A ship by the start of its id; the last one if it is empty.

    Raises:
        ConfigError: There is none, or there are several.
    """
    found = [each for each in journal.ships() if each.id.startswith(id_)]
    if not found:
        known = ", ".join(each.id for each in journal.ships()) or "none"
        raise ConfigError(f"There is no ship {id_ or 'yet'}. The journal has: {known}.")
    if id_ and len(found) > 1:
        raise ConfigError(f"Several ships begin with {id_}: {', '.join(e.id for e in found)}.")
    return _status(journal, found[0])


def shipped_before(identity: Mapping[str, Any], journal: Journal) -> int:
    """How often the same was shipped, whatever came of it."""
    same = {**identity, "again": None}
    return sum({**each.identity, "again": None} == same for each in journal.ships())


async def abort(journal: Journal, found: Status, key_env: str, by: str) -> None:
    """Ends a ship, and removes what it put on the server; the model answers as before.

    Args:
        journal: The store's journal.
        found: The ship.
        key_env: The environment variable with the key of the server's admin.
        by: Who ends it, for the journal.

    Raises:
        ConfigError: It has ended already.
        EnvironmentFault: The server does not respond.
    """
    if found.state is not State.STOPPED:
        raise ConfigError(f"The ship {found.ship.id} has ended: it is {found.state}.")
    ended = ends_of(found.events)
    if any(event.stage == DEPLOY for event in found.events):
        await _removed_from_server(found.ship, ended[BUNDLE].facts["digest"], key_env)
    stage = next(name for name in NAMES if name not in ended)
    journal.add(found.ship.id, stage, Kind.ABORTED, f"{by} ended it.")


async def _removed_from_server(ship_: Ship, digest: str, key_env: str) -> None:
    """Removes a ship's experiment and its candidate from the server; idempotent."""
    url = ship_.identity["url"]
    found = (await call(url, key_env, "/admin/models"))["models"]
    folder = str(Path(ship_.identity["bundles_at"]) / digest / "bundle")
    candidates = [
        each["name"]
        for each in found
        if each["state"] != "draining"
        and each["settings"].get("model") == folder
        and each["name"].endswith(f"-{digest[:CANDIDATE_DIGITS]}")
    ]
    for path in (path_of_experiment(ship_.id), *map(path_of_model, candidates)):
        try:
            await call(url, key_env, path, method="DELETE")
        except NotThere:
            continue


def _status(journal: Journal, ship_: Ship) -> Status:
    events = journal.events(ship_.id)
    return Status(ship_, state_of(events, NAMES[-1]), events)
