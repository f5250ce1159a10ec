"""The journal of all ships of a store: one SQLite file, to which events are only added.

The state of a ship follows from its events, so what a killed process left can be told exactly.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from silkline.errors import ConfigError, EnvironmentFault
from silkline.stores.sqlite import transaction, write_ahead

_SCHEMA = """
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS ships (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    command TEXT NOT NULL,
    arguments TEXT NOT NULL, -- as JSON
    identity TEXT NOT NULL,  -- as JSON: what decides about the result
    at REAL NOT NULL         -- Unix time in seconds
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    ship TEXT NOT NULL REFERENCES ships (id),
    stage TEXT NOT NULL,
    kind TEXT NOT NULL,
    about TEXT NOT NULL,
    facts TEXT NOT NULL,     -- as JSON
    at REAL NOT NULL
);
"""
_PATIENCE = 10.0

IN_MEMORY = Path(":memory:")
"""The path of a journal that is kept in memory, as SQLite has it."""


class Kind(StrEnum):
    """What an event says of a stage."""

    BEGAN = "began"
    DONE = "done"
    SKIPPED = "skipped"
    """There was nothing to do."""

    REFUSED = "refused"
    """The stage's verdict is no: the ship ends."""

    FAILED = "failed"
    """An error ended it; it runs again when the ship is resumed."""

    ABORTED = "aborted"
    """A person ended the ship."""


ENDS = frozenset({Kind.DONE, Kind.SKIPPED, Kind.REFUSED, Kind.ABORTED})
"""Events after which a stage does not run again."""


class Event(msgspec.Struct, frozen=True):
    """An event.

    Attributes:
        ship: The ship's id.
        stage: The stage.
        kind: What it says.
        about: In a sentence.
        facts: What later stages and people need to know.
        at: Unix time in seconds.
    """

    ship: str
    stage: str
    kind: Kind
    about: str
    facts: dict[str, Any]
    at: float


class Ship(msgspec.Struct, frozen=True):
    """A ship as it was started.

    Attributes:
        id: Its id.
        command: The command that started it.
        arguments: Its arguments, to start it again.
        identity: What decides about its result.
        at: Unix time in seconds at which it started.
    """

    id: str
    command: str
    arguments: dict[str, Any]
    identity: dict[str, Any]
    at: float


class Journal:
    """The journal of a store; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Sets the file; entering the context creates it if it is missing."""
        self._path = path
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> Journal:
        """Opens the file.

        Raises:
            ConfigError: It is not such a journal.
            EnvironmentFault: It cannot be opened.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            write_ahead(self._file, _PATIENCE)
            self._file.executescript(_SCHEMA)
        except (sqlite3.DatabaseError, OSError) as error:
            self._close()
            if isinstance(error, sqlite3.OperationalError | OSError):
                raise self._fault(error) from error
            raise ConfigError(
                f"{self._path} is not a journal of ships. Choose another folder by --store."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._close()

    def begin(self, ship: Ship) -> None:
        """Adds a ship; idempotent."""
        values = (ship.id, ship.command, _text(ship.arguments), _text(ship.identity), ship.at)
        self._run(
            "INSERT OR IGNORE INTO ships (id, command, arguments, identity, at) "
            "VALUES (?, ?, ?, ?, ?)",
            values,
        )

    def add(
        self, ship: str, stage: str, kind: Kind, about: str = "", facts: Mapping[str, Any] = {}
    ) -> None:
        """Adds an event; it is on the disk when this returns.

        Raises:
            EnvironmentFault: The disk is full or fails.
        """
        if self._file is None:
            raise RuntimeError("the journal is not open")
        values = (ship, stage, kind.value, about, _text(facts), time.time())
        try:
            with transaction(self._file):
                self._file.execute(
                    "INSERT INTO events (ship, stage, kind, about, facts, at) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def ships(self) -> list[Ship]:
        """All ships, the last one first."""
        rows = self._run(
            "SELECT id, command, arguments, identity, at FROM ships ORDER BY number DESC"
        )
        return [
            Ship(id_, command, msgspec.json.decode(arguments), msgspec.json.decode(identity), at)
            for id_, command, arguments, identity, at in rows
        ]

    def events(self, ship: str) -> list[Event]:
        """The events of a ship, in the order in which they happened."""
        rows = self._run(
            "SELECT ship, stage, kind, about, facts, at FROM events WHERE ship = ? ORDER BY number",
            (ship,),
        )
        return [
            Event(id_, stage, Kind(kind), about, msgspec.json.decode(facts), at)
            for id_, stage, kind, about, facts, at in rows
        ]

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if self._file is None:
            raise RuntimeError("the journal is not open")
        try:
            return self._file.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> EnvironmentFault:
        return EnvironmentFault(
            f"The journal {self._path} cannot be used: {error}. Free space or close what uses it, "
            "then run the same command again: it continues."
        )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _text(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
