"""The journal of a job: which items it has read, and the result of each question.

A SQLite file. An item is a row, its question another, and both have unique keys: however often a
run is killed and started again, an item has one result. Results are committed in groups; a kill
loses at most the group that was not committed, and those questions are asked again.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from silkline.batch.item import Counts, Result
from silkline.errors import ConfigError, EnvironmentFault
from silkline.stores.sqlite import transaction, write_ahead

_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    question BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS results (
    question BLOB PRIMARY KEY,
    error TEXT NOT NULL,
    transient INTEGER NOT NULL,
    content BLOB NOT NULL
) WITHOUT ROWID;
COMMIT;
"""
_JOINED = "FROM items JOIN results USING (question)"
_COUNTS = "SELECT count(*), coalesce(sum(error = ''), 0), coalesce(sum(error != ''), 0) " + _JOINED
_LOCK_SECONDS = 5.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Settled:
    """An item of the journal with its result.

    Attributes:
        number: Its index in the input.
        id: Its name.
        result: The result of its question; None if it has none yet.
        first: The name of the first item with the same question; its own if it is that.
    """

    number: int
    id: str
    result: Result | None
    first: str


class Journal:
    """A journal, open in one process; use it from one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file, for this process alone.

        Raises:
            ConfigError: Another process uses it.
            EnvironmentFault: It cannot be opened, or is not a journal.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._fault(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.touch(mode=0o600)
            self._file = sqlite3.connect(
                path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            write_ahead(self._file, _LOCK_SECONDS)
            self._file.executescript(_SCHEMA)
        except BlockingIOError as error:
            os.close(self._lock)
            raise ConfigError(
                f"Another run is using {path}. Wait for it, or choose another folder."
            ) from error
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise self._fault(error) from error

    def about(self, values: Mapping[str, str]) -> dict[str, str]:
        """Records what the job is, once; returns what was recorded first."""
        with self._writing():
            self._file.executemany(
                "INSERT OR IGNORE INTO about VALUES (?, ?)", list(values.items())
            )
        return dict(self._file.execute("SELECT name, value FROM about").fetchall())

    def begin(self, *, retry: bool = True) -> bytearray:
        """Prepares a run; returns 1 for each item, by number, that has a result.

        Args:
            retry: Whether results that may succeed later are dropped, to be asked again.
        """
        with self._writing():
            if retry:
                self._file.execute("DELETE FROM results WHERE transient")
        last = self._file.execute("SELECT max(number) FROM items").fetchone()[0]
        known = bytearray(0 if last is None else last + 1)
        for (number,) in self._file.execute(f"SELECT number {_JOINED}"):
            known[number] = 1
        return known

    def note(self, items: Sequence[tuple[int, str, bytes]]) -> dict[bytes, str]:
        """Records items, as number, id and question.

        Returns the error code, or empty text, of each of their questions that has a result.
        """
        with self._writing():
            self._file.executemany("INSERT OR IGNORE INTO items VALUES (?, ?, ?)", items)
        select = "SELECT question, error FROM results WHERE question = ?"
        found = (self._file.execute(select, (key,)).fetchone() for _, _, key in items)
        return {row[0]: row[1] for row in found if row is not None}

    def add(self, results: Iterable[tuple[bytes, Result]]) -> None:
        """Stores results by question. The first one of a question stays."""
        rows = [(key, one.error, one.transient, one.content) for key, one in results]
        with self._writing():
            self._file.executemany("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", rows)

    def counts(self) -> Counts:
        """The counts of items with a result, and of questions."""
        items, answered, failed = self._file.execute(_COUNTS).fetchone()
        asked = self._file.execute("SELECT count(*) FROM results").fetchone()[0]
        return Counts(items=items, answered=answered, failed=failed, asked=asked)

    def errors(self) -> dict[str, int]:
        """The number of failed items by the code of their error, the most frequent first."""
        query = (
            f"SELECT error, count(*) AS n {_JOINED} WHERE error != '' GROUP BY 1 ORDER BY n DESC"
        )
        return dict(self._file.execute(query).fetchall())

    def settled(self) -> Iterator[Settled]:
        """All items in the order of the input, some at a time."""
        query = (
            "SELECT number, id, error, transient, content, (SELECT min(number) FROM items AS i "
            "WHERE i.question = items.question) FROM items LEFT JOIN results USING (question) "
            "WHERE number > ? ORDER BY number LIMIT ?"
        )
        self._file.execute("CREATE INDEX IF NOT EXISTS by_question ON items (question, number)")
        last = -1
        while rows := self._file.execute(query, (last, _PAGE)).fetchall():
            for number, name, error, transient, content, first in rows:
                result = None if content is None else Result(content, error, bool(transient))
                yield Settled(number, name, result, name if first == number else self._id(first))
            last = rows[-1][0]

    def close(self) -> None:
        """Closes the file; another process may open it then."""
        self._file.close()
        os.close(self._lock)

    def _id(self, number: int) -> str:
        found = self._file.execute("SELECT id FROM items WHERE number = ?", (number,)).fetchone()
        return str(found[0])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction. Raises `EnvironmentFault` if it cannot be committed."""
        try:
            with transaction(self._file):
                yield
        except (sqlite3.Error, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> EnvironmentFault:
        reason = getattr(error, "strerror", None) or "SQLite cannot use it"
        return EnvironmentFault(
            f"The journal {self._path} cannot be used: {reason}. Free space or mend the folder, "
            "then run the same command again: it continues."
        )
