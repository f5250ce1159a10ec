"""Keys in a SQLite file: the gateways of one machine, across restarts.

The file stands beside that of the answer cache and is not a part of it: a cache may be dropped when
it is broken or too large, and a claim may not.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from silkline.gateway.idempotency.base import Claim, Found, KeyStore, not_served

T = TypeVar("T")

logger = logging.getLogger("silkline.gateway")

MOST_BYTES = 256 * 1024 * 1024
"""Of the file; the oldest finished keys leave when there are more."""

OPERATION_SECONDS = 2.0
"""How long a request waits for the disk."""

_SWEEP_ROWS = 64
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS keys (
    name BLOB NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    owner BLOB NOT NULL,
    answer BLOB,            -- NULL while it is being worked on
    expires REAL NOT NULL   -- Unix time in seconds
);
CREATE INDEX IF NOT EXISTS by_expiry ON keys (expires);
"""
_FIND = "SELECT fingerprint, answer FROM keys WHERE name = ? AND expires > ?"
_CLAIM = (
    "INSERT OR REPLACE INTO keys (name, fingerprint, owner, answer, expires) "
    "VALUES (?, ?, ?, NULL, ?)"
)
_HELD = "name = ? AND fingerprint = ? AND owner = ? AND answer IS NULL"
_RENEW = f"UPDATE keys SET expires = ? WHERE {_HELD}"  # noqa: S608 - constants only
_FINISH = f"UPDATE keys SET expires = ?, answer = ? WHERE {_HELD}"  # noqa: S608 - constants only
_RELEASE = f"DELETE FROM keys WHERE {_HELD}"  # noqa: S608 - constants only
_FORGET = "DELETE FROM keys WHERE name = ?"
_EXPIRE = (
    "DELETE FROM keys WHERE rowid IN "
    "(SELECT rowid FROM keys WHERE expires <= ? ORDER BY expires LIMIT ?)"
)
_SWEEP = (
    "DELETE FROM keys WHERE rowid IN "
    "(SELECT rowid FROM keys WHERE answer IS NOT NULL ORDER BY rowid LIMIT ?)"
)


class SqliteKeys(KeyStore):
    """Keeps keys in a file; one thread works on it."""

    def __init__(
        self,
        path: Path,
        most_bytes: int = MOST_BYTES,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Names the file, which the first use opens or makes; `clock` gives Unix time."""
        self._path = path
        self._most_bytes = most_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="silkline-keys")
        self._file: sqlite3.Connection | None = None
        self._closed = False

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """See `KeyStore`."""
        return await self._run(lambda file: self._claim(file, key, claim, lease_seconds))

    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + lease_seconds, *_held(key, claim))
        return await self._run(lambda file: file.execute(_RENEW, values).rowcount == 1)

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + ttl_seconds, answer, *_held(key, claim))
        return await self._run(lambda file: self._finish(file, values))

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        await self._run(lambda file: file.execute(_RELEASE, _held(key, claim)))

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        await self._run(lambda file: file.execute(_FORGET, (key,)))

    async def aclose(self) -> None:
        """Closes the file; what is in it stays."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=OPERATION_SECONDS)

    async def _run(self, use: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise not_served()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                return await loop.run_in_executor(self._thread, self._use, use)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            fields = {"error.type": type(error).__name__}
            logger.warning("the file of idempotency keys fails", extra={"ecs": fields})
            raise not_served() from error

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """In the thread; a file that failed is opened again by the next use."""
        try:
            return use(self._file or self._open())
        except (sqlite3.Error, OSError):
            self._close()
            raise

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        # Without an isolation level, a transaction is what `BEGIN` begins.
        self._file = sqlite3.connect(
            self._path, timeout=OPERATION_SECONDS / 2, isolation_level=None, check_same_thread=False
        )
        self._file.executescript(_SCHEMA)
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _claim(
        self, file: sqlite3.Connection, key: bytes, claim: Claim, lease_seconds: float
    ) -> Found | None:
        now = self._clock()
        file.execute("BEGIN IMMEDIATE")
        try:
            row = file.execute(_FIND, (key, now)).fetchone()
            if row is None:
                values = (key, claim.fingerprint, claim.owner, now + lease_seconds)
                file.execute(_CLAIM, values)
        except BaseException:
            file.execute("ROLLBACK")
            raise
        file.execute("COMMIT")
        return None if row is None else Found(row[0], row[1])

    def _finish(self, file: sqlite3.Connection, values: tuple[object, ...]) -> bool:
        finished = file.execute(_FINISH, values).rowcount == 1
        file.execute(_EXPIRE, (self._clock(), _SWEEP_ROWS))
        if _used_bytes(file) > self._most_bytes:
            file.execute(_SWEEP, (_SWEEP_ROWS,))
        return finished


def _held(key: bytes, claim: Claim) -> tuple[bytes, bytes, bytes]:
    return (key, claim.fingerprint, claim.owner)


def _used_bytes(file: sqlite3.Connection) -> int:
    pages, free, size = (
        file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
