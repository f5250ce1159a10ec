"""Helpers for SQLite files: the write-ahead log, the bytes in use, and transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

RETRY_SECONDS = 0.002
"""Pause between attempts when SQLite itself does not wait."""

PRIMARY_CODE = 0xFF
"""Mask for the primary code of an extended SQLite error code."""

_WAL = "PRAGMA journal_mode = WAL"


def write_ahead(file: sqlite3.Connection, patience_seconds: float) -> None:
    """Turns on the write-ahead log, a persistent property of a SQLite file.

    This needs exclusive access, and SQLite does not wait for it: if two processes open a new file
    at the same time, each would have to wait for the other, so both fail at once.

    Args:
        file: An open connection without a transaction.
        patience_seconds: Maximum seconds to wait for other processes.

    Raises:
        sqlite3.OperationalError: The file stayed locked, or cannot be used.
    """
    limit = time.monotonic() + patience_seconds
    while True:
        try:
            file.execute(_WAL)
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > limit:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def used_bytes(file: sqlite3.Connection) -> int:
    """Returns the bytes of the pages in use: free pages are reused before the file grows."""
    pages, free, size = (
        file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


@contextmanager
def transaction(file: sqlite3.Connection) -> Iterator[None]:
    """Commits what the block writes, or rolls it back if the block raises."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
