"""A SQLite file of values, bounded in bytes, for the thread of the disk tier.

Why SQLite and not one file per value: answers are about a kilobyte, which takes four on a file
system; expiry and size need a query instead of a directory scan; writes are atomic; and several
gateways on a machine may share the file.

It is a cache: no write waits for the disk (`synchronous = OFF`), and a corrupt file, which a power
loss may leave, is recreated. This applies only to files with Silkline's application id; any other
file is left untouched.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from silkline.cache.entry import MAX_ENTRY_BYTES
from silkline.stores.sqlite import PRIMARY_CODE, used_bytes, write_ahead

T = TypeVar("T")

FORMAT = 1
"""The file's `user_version`; a file with another format is recreated."""

APPLICATION = 0x53494C4B
"""The `application_id` in the file's header, which marks it as a Silkline cache."""

PAGE_BYTES = 4096

JOURNAL_PAGES = 256
"""Pages of the write-ahead log, next to the file, after which it is checkpointed."""

LOCK_SECONDS = 0.1
"""How long to wait for another process that is writing."""

SWEEP_ROWS = 64
"""Rows that are deleted in one step when room is needed."""

EXPIRED_ROWS = 4
"""How many of the oldest rows each write checks, to delete those that have expired."""

_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL,
    expires REAL NOT NULL  -- Unix time in seconds
);
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_CONNECT = f"""
PRAGMA synchronous = OFF;
PRAGMA wal_autocheckpoint = {JOURNAL_PAGES};
PRAGMA journal_size_limit = {JOURNAL_PAGES * PAGE_BYTES};
"""

# Rows are numbered in order of insertion, which is nearly the order in which they expire.
_GET = "SELECT value FROM entries WHERE key = ? AND expires > ? AND length(value) <= ?"
_PUT = "INSERT OR REPLACE INTO entries (key, value, expires) VALUES (?, ?, ?)"
_OLDEST = "rowid IN (SELECT rowid FROM entries ORDER BY rowid LIMIT ?)"
_SWEEP = f"DELETE FROM entries WHERE {_OLDEST}"  # noqa: S608 - constants only
_EXPIRE = f"DELETE FROM entries WHERE {_OLDEST} AND expires <= ?"  # noqa: S608 - constants only

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">16s52xI")
"""The start of the header: magic and `application_id`. https://www.sqlite.org/fileformat2.html"""


class ForeignFile(OSError):
    """The file was not created by Silkline."""


def check_own(path: Path) -> None:
    """Checks that the file is a Silkline cache, is empty or all zeros, or does not exist.

    Raises:
        ForeignFile: The file was not created by Silkline.
        OSError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
    except FileNotFoundError:
        return
    if any(head) and _HEADER.unpack(head.ljust(_HEADER.size)) != (_MAGIC, APPLICATION):
        raise ForeignFile(f"{path} is not a Silkline cache")


class SqliteFile:
    """Values by key in a SQLite file, used by one thread at a time.

    Every operation raises `sqlite3.Error` or `OSError` when the disk fails; the next operation
    opens the file again.

    Attributes:
        bytes: Bytes used in the file, as of the last write.
        evictions: Values that were evicted for room.
    """

    def __init__(self, path: Path, capacity_bytes: int, clock: Callable[[], float]) -> None:
        """Sets the path without opening it; `clock` gives Unix time in seconds."""
        self._path = path
        self._capacity = capacity_bytes
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self.bytes = 0
        self.evictions = 0

    def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none, it has expired or it is too long."""
        row = self._use(
            lambda file: file.execute(_GET, (key, self._clock(), MAX_ENTRY_BYTES)).fetchone()
        )
        value = None if row is None else row[0]
        return value if isinstance(value, bytes) else None

    def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value, then evicts the oldest ones while the file is too large."""
        self._use(lambda file: self._put(file, key, value, self._clock() + ttl_seconds))

    def close(self) -> None:
        """Closes the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection or self._open())
        except (sqlite3.Error, OSError) as error:
            self.close()
            if getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE in _BROKEN:
                self._remove()
            raise

    def _put(self, file: sqlite3.Connection, key: bytes, value: bytes, expires: float) -> None:
        with file:
            file.execute("BEGIN IMMEDIATE")
            file.execute(_EXPIRE, (EXPIRED_ROWS, self._clock()))
            file.execute(_PUT, (key, value, expires))
        self.bytes = used_bytes(file)
        while self.bytes > self._capacity:
            evicted = file.execute(_SWEEP, (SWEEP_ROWS,)).rowcount
            if evicted == 0:
                return
            self.evictions += evicted
            self.bytes = used_bytes(file)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_own(self._path)
        file = self._connect()
        (version,) = file.execute("PRAGMA user_version").fetchone()
        # If the capacity was reduced, recreate the file: SQLite would never return its free pages.
        if version not in {0, FORMAT} or self._path.stat().st_size > 2 * self._capacity:
            self.close()
            self._remove()
            file, version = self._connect(), 0
        if version == 0:
            file.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            file.execute(f"PRAGMA application_id = {APPLICATION}")
            write_ahead(file, LOCK_SECONDS)
            file.executescript(_CREATE)
        file.executescript(_CONNECT)
        self.bytes = used_bytes(file)
        return file

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        # Without an isolation level, transactions start only with an explicit `BEGIN`.
        self._connection = sqlite3.connect(
            self._path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        return self._connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
