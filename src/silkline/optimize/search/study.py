"""The journal of a search: every trial, in a SQLite file, as soon as it ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.optimize.search.trial import Names, Trial
from silkline.stores.sqlite import write_ahead

_SCHEMA = """
CREATE TABLE IF NOT EXISTS search (id INTEGER PRIMARY KEY CHECK (id = 1), plan TEXT NOT NULL,
    seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS trials (names TEXT NOT NULL, items INTEGER NOT NULL,
    trial TEXT NOT NULL, ended TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (names, items));
"""
_PATIENCE = 5.0


class Study:
    """The trials of one search; use it as a context manager."""

    def __init__(self, path: Path, plan: Mapping[str, object]) -> None:
        """Sets the file and what the search is about; entering the context opens the file.

        Args:
            path: The file; it is created if it is missing.
            plan: What decides about the results. A file of another search is refused.
        """
        self._path = path
        self._plan = msgspec.json.encode(plan, order="sorted").decode()
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> Study:
        """Opens the file.

        Raises:
            ConfigError: It is another search's, or no such file.
            EnvironmentFault: It cannot be opened.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            write_ahead(self._file, _PATIENCE)
            self._file.executescript(_SCHEMA)
            self._file.execute("INSERT OR IGNORE INTO search VALUES (1, ?, 0)", (self._plan,))
            (plan,) = self._file.execute("SELECT plan FROM search").fetchone()
        except sqlite3.DatabaseError as error:
            self._close()
            if isinstance(error, sqlite3.OperationalError):
                raise self._fault(error) from error
            raise ConfigError(
                f"{self._path} is not the journal of a search. Remove it, or choose another --out."
            ) from error
        except OSError as error:
            raise self._fault(error) from error
        if plan != self._plan:
            self._close()
            raise ConfigError(
                f"{self._path} is the journal of another search: of another model, data set, "
                "seed, requirement or version. Remove its folder, or choose another --out."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._close()

    @property
    def seconds(self) -> float:
        """Seconds that the search took so far, over all its runs."""
        found: float = self._run("SELECT seconds FROM search")[0][0]
        return found

    def find(self, names: Names, items: int) -> Trial | None:
        """The trial of a candidate on so many items; None if there was none."""
        rows = self._run(
            "SELECT trial FROM trials WHERE names = ? AND items = ?", (_key(names), items)
        )
        return _decoded(rows[0][0]) if rows else None

    def trials(self) -> list[Trial]:
        """The last trial of each candidate, in the order of their first ones."""
        rows = self._run("SELECT trial FROM trials ORDER BY rowid")
        found: dict[Names, Trial] = {}
        for (text,) in rows:
            trial = _decoded(text)
            if trial.names not in found or trial.items >= found[trial.names].items:
                found[trial.names] = trial
        return list(found.values())

    def add(self, trial: Trial, items: int, seconds: float) -> None:
        """Stores a trial; it survives a crash of the process.

        Args:
            trial: What was found.
            items: The items that it was to be asked.
            seconds: Seconds that the search took so far.

        Raises:
            EnvironmentFault: The disk is full or fails.
        """
        encoded = msgspec.json.encode(trial).decode()
        self._run(
            "INSERT OR REPLACE INTO trials (names, items, trial) VALUES (?, ?, ?)",
            (_key(trial.names), items, encoded),
        )
        self._run("UPDATE search SET seconds = ?", (seconds,))

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if self._file is None:
            raise RuntimeError("the study is not open")
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


def _key(names: Names) -> str:
    return " + ".join(names)


def _decoded(text: str) -> Trial:
    try:
        return msgspec.json.decode(text, type=Trial)
    except UNDECODABLE as error:
        raise ConfigError(
            "A trial in the journal of the search cannot be read. Remove the journal's folder, or "
            "choose another --out."
        ) from error
