"""The journal of experiments: every observation, reward and decision, in one SQLite file.

Rows are only added, so a verdict can be computed again from them. Observations are written in
batches behind the requests; a decision is written before it takes effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from silkline.errors import Overloaded
from silkline.experiments.assignment import Arm
from silkline.experiments.tally import Observation, Scored
from silkline.stores.sqlite import transaction
from silkline.stores.sqlite_thread import SqliteThread

_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS observations (
    number INTEGER PRIMARY KEY,
    experiment TEXT NOT NULL,
    request TEXT NOT NULL,
    tenant TEXT NOT NULL,
    arm TEXT NOT NULL,
    stratum TEXT NOT NULL,
    failed INTEGER NOT NULL,
    seconds REAL NOT NULL,
    size REAL NOT NULL,
    at REAL NOT NULL,        -- Unix time in seconds
    UNIQUE (request, tenant)
);
CREATE TABLE IF NOT EXISTS rewards (
    number INTEGER PRIMARY KEY,
    observation INTEGER NOT NULL UNIQUE REFERENCES observations (number),
    value REAL NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS scores (
    number INTEGER PRIMARY KEY,
    experiment TEXT NOT NULL,
    request TEXT NOT NULL,
    tenant TEXT NOT NULL,
    scorer TEXT NOT NULL,
    value REAL NOT NULL,
    at REAL NOT NULL,
    UNIQUE (request, tenant, experiment, scorer)
);
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY,
    experiment TEXT NOT NULL,
    settings TEXT NOT NULL,  -- as JSON
    serving TEXT NOT NULL,
    share REAL NOT NULL,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,  -- as JSON
    seen INTEGER NOT NULL,   -- the last observation that counted
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    webhook TEXT PRIMARY KEY,
    decision INTEGER NOT NULL  -- the last one that it got, or that was given up
);
COMMIT;
"""
_OBSERVED = (
    "INSERT OR IGNORE INTO observations "
    "(experiment, request, tenant, arm, stratum, failed, seconds, size, at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SCORED = (
    "INSERT OR IGNORE INTO scores (experiment, request, tenant, scorer, value, at) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_SCORES = (
    "SELECT number, request, tenant, scorer, value, at FROM scores "
    "WHERE experiment = ? AND number > ? ORDER BY number"
)
_FIND = "SELECT number, experiment, arm FROM observations WHERE request = ? AND tenant = ?"
_REWARD = "INSERT OR IGNORE INTO rewards (observation, value, at) VALUES (?, ?, ?)"
_DECIDE = (
    "INSERT INTO decisions (experiment, settings, serving, share, by, reason, evidence, seen, at) "
    "SELECT ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(number), 0) FROM observations), ? "
    "WHERE NOT EXISTS (SELECT 1 FROM decisions WHERE experiment = ? AND number > ?)"
)
_DECISIONS = (
    "SELECT number, settings, serving, share, by, reason, evidence, at FROM decisions "
    "WHERE experiment = ? AND number > ? ORDER BY number"
)
_KNOW_WEBHOOK = (
    "INSERT OR IGNORE INTO deliveries (webhook, decision) "
    "SELECT ?, coalesce(max(number), 0) FROM decisions"
)
_UNDELIVERED = (
    "SELECT number, experiment, serving, share, by, reason, evidence, at FROM decisions "
    "WHERE number > (SELECT decision FROM deliveries WHERE webhook = ?) ORDER BY number LIMIT 1"
)
_DELIVERED = "UPDATE deliveries SET decision = ? WHERE webhook = ?"
_SEEN = (
    "SELECT number, request, tenant, arm, stratum, failed, seconds, size, at FROM observations "
    "WHERE experiment = ? AND number > ? ORDER BY number"
)
_REWARDS = (
    "SELECT rewards.number, arm, value, rewards.at FROM rewards "
    "JOIN observations ON observation = observations.number "
    "WHERE experiment = ? AND rewards.number > ? ORDER BY rewards.number"
)


EVIDENCE = "evidence"
"""Who takes decisions that no person takes."""


class Serving(Enum):
    """Which model answers."""

    SPLIT = "split"
    """Both do."""

    PAUSED = "paused"
    """The model does, until an admin resumes the experiment."""

    MODEL = "model"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Decision:
    """A step of an experiment.

    Attributes:
        serving: Which model answers from then on.
        share: The candidate's share while both do.
        by: Who decided: `evidence`, or the name of an admin's key.
        reason: Why, in a sentence.
        evidence: What was known, as JSON.
        at: Unix time in seconds.
    """

    serving: Serving
    share: float
    by: str
    reason: str
    evidence: str
    at: float


class Reward(NamedTuple):
    """The reward of a request: its arm, its value from 0 to 1, and its Unix time in seconds."""

    arm: Arm
    value: float
    at: float


class Marks(NamedTuple):
    """The last row of each kind that was read."""

    decisions: int = 0
    seen: int = 0
    rewards: int = 0
    scores: int = 0


_START = Marks()


class Past(NamedTuple):
    """What a journal holds of one experiment after some marks, in the order in which it came.

    Attributes:
        decisions: Its decisions, the first being its start, each with the settings as JSON.
        seen: Its observations.
        rewards: Its rewards.
        scores: Its scores.
        marks: Where to read on.
    """

    decisions: list[tuple[str, Decision]]
    seen: list[Observation]
    rewards: list[Reward]
    scores: list[Scored]
    marks: Marks


class Rewarded(NamedTuple):
    """What a reward belongs to.

    Attributes:
        experiment: The experiment.
        arm: The arm.
        is_first: Whether the request had no reward before; only then it counts.
    """

    experiment: str
    arm: Arm
    is_first: bool


class Journal:
    """The journal; its operations raise `Overloaded` when the file fails."""

    def __init__(self, path: str) -> None:
        """Sets the path; the first use opens or creates the file. Empty keeps it in memory."""
        self._file = SqliteThread(
            Path(path).expanduser() if path else None,
            _SCHEMA,
            content="experiments",
            unavailable=_unavailable,
        )

    async def read(self, experiment: str, marks: Marks = _START) -> Past:
        """Reads what is known of an experiment, by this gateway and others, after the marks."""
        return await self._file.run("read", lambda file: read_past(file, experiment, marks))

    async def observe(self, experiment: str, seen: Sequence[Observation]) -> None:
        """Adds observations; one whose request is already there is left out."""
        rows = [
            (experiment, one.request, one.tenant, one.arm.value, one.stratum, one.failed,
             one.seconds, one.size, one.at)
            for one in seen
        ]  # fmt: skip
        await self._file.run("observe", lambda file: _many(file, _OBSERVED, rows))

    async def reward(self, request: str, tenant: str, value: float, at: float) -> Rewarded | None:
        """Adds the reward of a request.

        Returns:
            What it belongs to; None if the tenant has no such request in an experiment.
        """

        def add(file: sqlite3.Connection) -> Rewarded | None:
            row = file.execute(_FIND, (request, tenant)).fetchone()
            if row is None:
                return None
            is_first = file.execute(_REWARD, (row[0], value, at)).rowcount == 1
            return Rewarded(row[1], Arm(row[2]), is_first)

        return await self._file.run("reward", add)

    async def score(self, experiment: str, scores: Sequence[Scored]) -> None:
        """Adds scores; those that are already there are left out."""
        rows = [(experiment, *one) for one in scores]
        await self._file.run("score", lambda file: _many(file, _SCORED, rows))

    async def decide(self, experiment: str, settings: str, decision: Decision, after: int) -> bool:
        """Adds a decision, unless another gateway has decided meanwhile.

        Args:
            experiment: The experiment.
            settings: Its settings, as JSON.
            decision: The decision.
            after: The mark of the last decision that was known.

        Returns:
            Whether it was added.
        """
        values = (experiment, settings, decision.serving.value, decision.share, decision.by,
                  decision.reason, decision.evidence, decision.at, experiment, after)  # fmt: skip
        return await self._file.run(
            "decide", lambda file: file.execute(_DECIDE, values).rowcount == 1
        )

    async def know_webhook(self, webhook: str) -> None:
        """Remembers a webhook, which gets the decisions from now on; idempotent."""
        await self._file.run("webhook", lambda file: file.execute(_KNOW_WEBHOOK, (webhook,)))

    async def undelivered(self, webhook: str) -> tuple[int, str, Decision] | None:
        """The first decision that a webhook has not got: number, experiment, decision."""

        def find(file: sqlite3.Connection) -> tuple[int, str, Decision] | None:
            row = file.execute(_UNDELIVERED, (webhook,)).fetchone()
            if row is None:
                return None
            number, experiment, serving, *rest = row
            return number, experiment, Decision(Serving(serving), *rest)

        return await self._file.run("undelivered", find)

    async def delivered(self, webhook: str, number: int) -> None:
        """Notes that a webhook got a decision, or that it was given up."""
        await self._file.run("delivered", lambda file: file.execute(_DELIVERED, (number, webhook)))

    async def aclose(self) -> None:
        """Closes the file; idempotent."""
        await self._file.aclose()


def read_past(file: sqlite3.Connection, experiment: str, marks: Marks = _START) -> Past:
    """Returns what an open journal holds of an experiment after the marks."""
    decisions, seen, rewards, scores = (
        file.execute(statement, (experiment, mark)).fetchall()
        for statement, mark in zip((_DECISIONS, _SEEN, _REWARDS, _SCORES), marks, strict=True)
    )
    return Past(
        [
            (settings, Decision(Serving(serving), *rest))
            for _, settings, serving, *rest in decisions
        ],
        [
            Observation(request, tenant, Arm(arm), stratum, bool(failed), *rest)
            for _, request, tenant, arm, stratum, failed, *rest in seen
        ],
        [Reward(Arm(arm), *rest) for _, arm, *rest in rewards],
        [Scored(*rest) for _, *rest in scores],
        Marks(
            *(
                rows[-1][0] if rows else mark
                for rows, mark in zip((decisions, seen, rewards, scores), marks, strict=True)
            )
        ),
    )


def _many(file: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    with transaction(file):
        file.executemany(statement, rows)


def _unavailable() -> Overloaded:
    return Overloaded("The experiments' file is not available now. Send the request again later.")


def read_span(
    file: sqlite3.Connection, since: float, until: float
) -> tuple[list[tuple[str, Decision]], list[float]]:
    """Returns what an open journal holds of a span of Unix time.

    Returns:
        The decisions, each with its experiment, and the rewards.
    """
    decisions = file.execute(
        "SELECT experiment, serving, share, by, reason, evidence, at FROM decisions "
        "WHERE at >= ? AND at < ? ORDER BY number",
        (since, until),
    )
    rewards = file.execute("SELECT value FROM rewards WHERE at >= ? AND at < ?", (since, until))
    return (
        [(name, Decision(Serving(serving), *rest)) for name, serving, *rest in decisions],
        [value for (value,) in rewards],
    )
