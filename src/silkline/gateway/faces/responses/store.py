"""Stores responses and their input in SQLite, bounded in age, number and bytes.

When there are too many, the oldest responses of the tenant that has the most are evicted.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from silkline.config import ResponseSettings
from silkline.errors import Overloaded
from silkline.stores.sqlite import transaction
from silkline.stores.sqlite_thread import SqliteThread

_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id BLOB NOT NULL,
    previous TEXT NOT NULL,  -- the id of the response that it continues; empty if none
    input BLOB NOT NULL,
    response BLOB NOT NULL,
    size INTEGER NOT NULL,
    expires REAL NOT NULL,   -- Unix time in seconds
    UNIQUE (tenant, id)
);
CREATE INDEX IF NOT EXISTS by_expiry ON responses (expires);
CREATE INDEX IF NOT EXISTS by_tenant ON responses (tenant, number, size);
COMMIT;
"""
_LIVE = "FROM responses WHERE tenant = ? AND id = ? AND expires > ?"
_ENTRY = f"SELECT size, previous {_LIVE}"
_LOAD = f"SELECT input, response {_LIVE}"
_DELETE = f"DELETE {_LIVE}"
_PUT = (
    "INSERT INTO responses (tenant, id, previous, input, response, size, expires) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_EXPIRE = "DELETE FROM responses WHERE expires <= ?"
_TOTALS = "SELECT tenant, count(*), sum(size) FROM responses GROUP BY tenant"
_OLDEST = "SELECT number, size FROM responses WHERE tenant = ? ORDER BY number LIMIT 1"
_EVICT = "DELETE FROM responses WHERE number = ?"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored response without its content.

    Attributes:
        id: Its id.
        size: Bytes of its input and of the response, as JSON.
        previous: The id of the response that it continues; empty if none.
    """

    id: str
    size: int
    previous: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a stored response.

    Attributes:
        input: The input items, as JSON.
        response: The response object, as JSON.
    """

    input: bytes
    response: bytes


class ResponseStore:
    """Stores responses; a tenant finds only its own.

    Every method raises `Overloaded` when the file fails.
    """

    def __init__(
        self, settings: ResponseSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Reads the settings; the first use opens the file. `clock` returns Unix time."""
        path = settings.response_file
        self._file = SqliteThread(
            Path(path).expanduser() if path else None,
            _SCHEMA,
            content="stored responses",
            unavailable=_unavailable,
        )
        self._settings = settings
        self._clock = clock

    async def put(self, tenant: str, name: str, previous: str, stored: Stored) -> bool:
        """Stores a response that continues `previous`, or none if that is empty.

        False if it is larger than the whole store.
        """
        size = len(stored.input) + len(stored.response)
        if size > self._settings.response_bytes:
            return False
        expires = self._clock() + self._settings.response_ttl
        row = (tenant, _key(name), previous, stored.input, stored.response, size, expires)
        await self._file.run("put", lambda file: self._put(file, row))
        return True

    async def load(self, tenant: str, name: str) -> Stored | None:
        """The content of a response; None if it is not stored."""
        values = (tenant, _key(name), self._clock())
        row = await self._file.run("load", lambda file: file.execute(_LOAD, values).fetchone())
        return None if row is None else Stored(*row)

    async def chain(self, tenant: str, name: str, limit: int) -> list[Entry]:
        """A response and those that it continues, newest first.

        The list ends after `limit` entries, or before a response that is not stored; its last
        entry then has a `previous`.
        """
        return await self._file.run("chain", lambda file: self._chain(file, tenant, name, limit))

    async def delete(self, tenant: str, name: str) -> bool:
        """Deletes a response; False if it is not stored."""
        values = (tenant, _key(name), self._clock())
        return await self._file.run(
            "delete", lambda file: file.execute(_DELETE, values).rowcount == 1
        )

    async def aclose(self) -> None:
        """Closes the file; responses in memory are lost. Idempotent."""
        await self._file.aclose()

    def _put(self, file: sqlite3.Connection, row: Sequence[object]) -> None:
        with transaction(file):
            file.execute(_EXPIRE, (self._clock(),))
            file.execute(_PUT, row)
            self._make_room(file)

    def _make_room(self, file: sqlite3.Connection) -> None:
        held = {tenant: list(totals) for tenant, *totals in file.execute(_TOTALS).fetchall()}
        limits = (self._settings.response_count, self._settings.response_bytes)
        for index, limit in enumerate(limits):
            while sum(totals[index] for totals in held.values()) > limit:
                tenant = max(held, key=lambda name: held[name][index])
                number, size = file.execute(_OLDEST, (tenant,)).fetchone()
                file.execute(_EVICT, (number,))
                held[tenant][0] -= 1
                held[tenant][1] -= size

    def _chain(self, file: sqlite3.Connection, tenant: str, name: str, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        while name and len(entries) < limit:
            row = file.execute(_ENTRY, (tenant, _key(name), self._clock())).fetchone()
            if row is None:
                break
            entries.append(Entry(name, *row))
            name = entries[-1].previous
        return entries


def _key(name: str) -> bytes:
    """An id as in the file; clients may send any text as one."""
    return name.encode("utf-8", "replace")


def _unavailable() -> Overloaded:
    return Overloaded(
        "The store of responses is unavailable. Retry after the time in Retry-After, or send the "
        "whole conversation as input."
    )
