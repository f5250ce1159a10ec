"""The journal of drift: every window of traffic, and every run of the canary set, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from silkline.errors import Overloaded
from silkline.stores.sqlite import transaction
from silkline.stores.sqlite_thread import SqliteThread

_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS windows (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    began REAL NOT NULL,     -- Unix time in seconds
    at REAL NOT NULL,        -- its end
    requests INTEGER NOT NULL,
    findings TEXT NOT NULL   -- by feature, as JSON
);
CREATE TABLE IF NOT EXISTS expected (
    model TEXT NOT NULL,     -- name@revision
    item TEXT NOT NULL,
    answer TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (model, item)
);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,     -- its name
    at REAL NOT NULL,
    run TEXT NOT NULL        -- as JSON
);
CREATE TABLE IF NOT EXISTS claims (number INTEGER PRIMARY KEY, at REAL NOT NULL);
COMMIT;
"""
_WINDOW = "INSERT INTO windows (model, began, at, requests, findings) VALUES (?, ?, ?, ?, ?)"
_CLAIM = "INSERT INTO claims (at) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM claims WHERE at > ?)"
_EXPECTED = "SELECT item, answer FROM expected WHERE model = ?"
_EXPECT = "INSERT OR IGNORE INTO expected (model, item, answer, at) VALUES (?, ?, ?, ?)"
_RUN = "INSERT INTO runs (model, at, run) VALUES (?, ?, ?)"
_LATEST = "SELECT run FROM runs WHERE number IN (SELECT max(number) FROM runs GROUP BY model)"


class Finding(msgspec.Struct, frozen=True):
    """How far a feature of a window is from the baseline.

    Attributes:
        index: The population stability index.
        limit: The index up to which it counts as unchanged.
        values: Number of values.
        moved: The bins whose shares differ most: name, share before and now.
    """

    index: float
    limit: float
    values: int
    moved: tuple[tuple[str, float, float], ...]

    @property
    def drifts(self) -> bool:
        """Whether the feature has changed."""
        return self.index > self.limit


class Window(msgspec.Struct, frozen=True):
    """A window of a model's traffic that has ended.

    Attributes:
        model: The model's name.
        began: Unix time of its first request.
        at: Unix time of its last one.
        requests: Computed answers in it.
        findings: What was found, by feature.
    """

    model: str
    began: float
    at: float
    requests: int
    findings: dict[str, Finding]


class Reply(msgspec.Struct, frozen=True):
    """What became of one item of the canary set.

    Attributes:
        item: The item's id.
        state: `same`, `first` (there was none to compare with), `unsteady` (the same when it was
            asked again), `changed`, `failed`, or `skipped` (the server is too busy).
        answer: The answer; the error's code if it failed or was skipped.
        expected: The answer before, if it is another one.
        score: By the main metric; None without an answer or without references.
    """

    item: str
    state: str
    answer: str
    expected: str = ""
    score: float | None = None


class Run(msgspec.Struct, frozen=True):
    """A run of the canary set on one model.

    Attributes:
        model: The model's name.
        served: Its name and revision: `name@revision`.
        at: Unix time at which it began.
        seconds: How long it took.
        metric: The metric of the scores; empty if the set has no references.
        score: The mean score of the items that were answered; None without any.
        replies: The items in their order.
    """

    model: str
    served: str
    at: float
    seconds: float
    metric: str
    score: float | None
    replies: tuple[Reply, ...]

    def count(self, state: str) -> int:
        """Number of items in a state."""
        return sum(reply.state == state for reply in self.replies)


class Past(NamedTuple):
    """What a journal's file holds between two moments: windows and runs in their order."""

    windows: tuple[Window, ...]
    runs: tuple[Run, ...]


class Journal:
    """The journal; its operations raise `Overloaded` when the file fails."""

    def __init__(self, path: str) -> None:
        """Sets the path; the first use opens or creates the file. Empty keeps it in memory."""
        self._file = SqliteThread(
            Path(path).expanduser() if path else None,
            _SCHEMA,
            content="drift",
            unavailable=_unavailable,
        )

    async def add_window(self, window: Window) -> None:
        """Adds a window."""
        findings = msgspec.json.encode(window.findings).decode()
        values = (window.model, window.began, window.at, window.requests, findings)
        await self._file.run("window", lambda file: file.execute(_WINDOW, values).rowcount)

    async def claim(self, at: float, every: float) -> bool:
        """Whether a run is due and this process is the one that does it."""
        values = (at, at - every)
        return await self._file.run("claim", lambda file: file.execute(_CLAIM, values).rowcount > 0)

    async def expected(self, served: str) -> dict[str, str]:
        """The answers to compare with, by item, of a model and revision."""
        return await self._file.run(
            "expected", lambda file: dict(file.execute(_EXPECTED, (served,)).fetchall())
        )

    async def add_run(self, run: Run, first: Mapping[str, str]) -> None:
        """Adds a run, and the answers that later ones are compared with, by item."""
        rows = [(run.served, item, answer, run.at) for item, answer in first.items()]
        encoded = msgspec.json.encode(run).decode()

        def add(file: sqlite3.Connection) -> None:
            with transaction(file):
                file.executemany(_EXPECT, rows)
                file.execute(_RUN, (run.model, run.at, encoded))

        await self._file.run("run", add)

    async def latest(self) -> list[Run]:
        """The last run of each model."""
        rows = await self._file.run("latest", lambda file: file.execute(_LATEST).fetchall())
        return _runs(rows)

    async def aclose(self) -> None:
        """Closes the file; idempotent."""
        await self._file.aclose()


def read_past(file: sqlite3.Connection, since: float, until: float) -> Past:
    """Reads what began in a span of Unix time from an open journal."""
    windows = file.execute(
        "SELECT model, began, at, requests, findings FROM windows "
        "WHERE began >= ? AND began < ? ORDER BY number",
        (since, until),
    )
    runs = file.execute(
        "SELECT run FROM runs WHERE at >= ? AND at < ? ORDER BY number", (since, until)
    )
    return Past(
        tuple(
            Window(
                model, began, at, requests, msgspec.json.decode(findings, type=dict[str, Finding])
            )
            for model, began, at, requests, findings in windows
        ),
        tuple(_runs(runs.fetchall())),
    )


def _runs(rows: Sequence[tuple[str]]) -> list[Run]:
    return [msgspec.json.decode(text, type=Run) for (text,) in rows]


def _unavailable() -> Overloaded:
    return Overloaded("The journal of drift is not available now. Send the request again later.")
