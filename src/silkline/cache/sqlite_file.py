"""A bounded file of values: what the disk tier does in its thread.

SQLite rather than a file a value: answers are about a kilobyte, of which a file system makes four;
age and room are an index instead of a walk over a folder; a value is there whole or not at all;
and several gateways of a machine may share the file.

It is a cache: nothing waits for the disk to have written (`synchronous = OFF`), and a file that is
broken, which it may be after a loss of power, is made anew. Only its own: a file that does not say
that it is such a cache is somebody's, and stays as it is.
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
"""Stands in the file as `user_version`; a file of another format is made anew."""

APPLICATION = 0x53494C4B
"""Stands in the file's header as `application_id`, and makes it ours."""

PAGE_BYTES = 4096

JOURNAL_PAGES = 256
"""Pages of the write-ahead log, beside the file, before they move into the file."""

LOCK_SECONDS = 0.1
"""How long to wait for another process that writes."""

SWEEP_ROWS = 64
"""Rows that leave at once when room is needed."""

EXPIRED_ROWS = 4
"""The oldest rows that each write looks at, to drop those whose time is over."""

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

# Rows are numbered in the order in which they came, which is nearly that in which they expire.
_GET = "SELECT value FROM entries WHERE key = ? AND expires > ? AND length(value) <= ?"
_PUT = "INSERT OR REPLACE INTO entries (key, value, expires) VALUES (?, ?, ?)"
_OLDEST = "rowid IN (SELECT rowid FROM entries ORDER BY rowid LIMIT ?)"
_SWEEP = f"DELETE FROM entries WHERE {_OLDEST}"  # noqa: S608 - constants only
_EXPIRE = f"DELETE FROM entries WHERE {_OLDEST} AND expires <= ?"  # noqa: S608 - constants only

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">16s52xI")
"""The header's beginning: magic, and `application_id`. https://www.sqlite.org/fileformat2.html"""


class ForeignFile(OSError):
    """What is at the path is none of ours."""


def check_own(path: Path) -> None:
    """Checks that a path may become, or is, such a file; what is empty or zeroed may.

    Raises:
        ForeignFile: Something else is there.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
    except FileNotFoundError:
        return
    if any(head) and _HEADER.unpack(head.ljust(_HEADER.size)) != (_MAGIC, APPLICATION):
        raise ForeignFile(f"{path} is no cache of Silkline's")


class SqliteFile:
    """Values by key, used by one thread at a time.

    Every use raises `sqlite3.Error` or `OSError` when the disk does not serve; the next use opens
    the file again.

    Attributes:
        bytes: What the values take in the file, as of the last write.
        evictions: Values that left for room.
    """

    def __init__(self, path: Path, capacity_bytes: int, clock: Callable[[], float]) -> None:
        """Names the file, opens nothing; `clock` gives Unix time in seconds."""
        self._path = path
        self._capacity = capacity_bytes
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self.bytes = 0
        self.evictions = 0

    def get(self, key: bytes) -> bytes | None:
        """The value; None when there is none, its time is over or it is too long."""
        row = self._use(
            lambda file: file.execute(_GET, (key, self._clock(), MAX_ENTRY_BYTES)).fetchone()
        )
        value = None if row is None else row[0]
        return value if isinstance(value, bytes) else None

    def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Keeps a value, then makes room if there is too little."""
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
            left = file.execute(_SWEEP, (SWEEP_ROWS,)).rowcount
            if left == 0:
                return
            self.evictions += left
            self.bytes = used_bytes(file)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_own(self._path)
        file = self._connect()
        (version,) = file.execute("PRAGMA user_version").fetchone()
        # A smaller capacity than before: free pages would never go back to the file system.
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
        # Without an isolation level, a transaction is what `BEGIN` begins.
        self._connection = sqlite3.connect(
            self._path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        return self._connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
