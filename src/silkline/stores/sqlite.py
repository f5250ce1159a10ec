"""What every SQLite file of Silkline needs: the write-ahead log, and its size in use."""

from __future__ import annotations

import sqlite3
import time

RETRY_SECONDS = 0.002
"""Pause between attempts where SQLite itself does not wait."""

PRIMARY_CODE = 0xFF
"""Mask that leaves the primary code of an extended SQLite error code."""

_WAL = "PRAGMA journal_mode = WAL"


def write_ahead(file: sqlite3.Connection, patience_seconds: float) -> None:
    """Turns the write-ahead log on, which a file of SQLite remembers.

    This needs the file alone, and SQLite does not wait for that: of two processes that open a new
    file together, each would have to wait for the other, and both are refused at once.

    Args:
        file: Open, and in no transaction.
        patience_seconds: How long to wait for other processes.

    Raises:
        sqlite3.OperationalError: Others had the file all that time, or it cannot be used.
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
    """What the pages take that are in use: free ones are filled before the file grows."""
    pages, free, size = (
        file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
