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
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from silkline.idempotency.base import Claim, Found, KeyStore, not_served
from silkline.stores.sqlite import used_bytes, write_ahead

T = TypeVar("T")

logger = logging.getLogger("silkline.gateway")

MAX_BYTES = 256 * 1024 * 1024
"""Of the file; the oldest finished keys leave when there are more."""

OPERATION_SECONDS = 2.0
"""How long a request waits for the disk."""

_LOCK_SECONDS = OPERATION_SECONDS / 2
_SWEEP_ROWS = 64
_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS keys (
    name BLOB NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    owner BLOB NOT NULL,
    answer BLOB,            -- NULL while it is being worked on
    expires REAL NOT NULL   -- Unix time in seconds
);
CREATE INDEX IF NOT EXISTS by_expiry ON keys (expires);
COMMIT;
"""
_FIND = "SELECT fingerprint, answer FROM keys WHERE name = ? AND expires > ?"
_CLAIM = (
    "INSERT OR REPLACE INTO keys (name, fingerprint, owner, answer, expires) "
    "VALUES (?, ?, ?, NULL, ?)"
)
# Where the clock was set back, a dead owner's claim would last for as long as it was set back by.
_SHORTEN = "UPDATE keys SET expires = ? WHERE name = ? AND answer IS NULL AND expires > ?"
_HELD = "name = ? AND fingerprint = ? AND owner = ? AND answer IS NULL"
_RENEW = f"UPDATE keys SET expires = ? WHERE {_HELD}"  # noqa: S608 - constants only
_FINISH = f"UPDATE keys SET expires = ?, answer = ? WHERE {_HELD}"  # noqa: S608 - constants only
_RELEASE = f"DELETE FROM keys WHERE {_HELD}"  # noqa: S608 - constants only
_FORGET = "DELETE FROM keys WHERE name = ? AND answer IS NOT NULL"
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
        max_bytes: int = MAX_BYTES,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Names the file, which the first use opens or makes; `clock` gives Unix time."""
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="silkline-keys")
        self._file: sqlite3.Connection | None = None
        self._failing: set[str] = set()
        self._closed = False

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """See `KeyStore`."""
        job = self._submit(lambda file: self._claim(file, key, claim, lease_seconds))
        try:
            return await self._result("claim", job)
        except BaseException:
            if _may_hold(job) and not self._closed:
                self._thread.submit(self._free, key, claim)  # after the job, which may still run
            raise

    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + lease_seconds, *_held(key, claim))
        return await self._run("renew", lambda file: file.execute(_RENEW, values).rowcount == 1)

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + ttl_seconds, answer, *_held(key, claim))
        return await self._run("finish", lambda file: self._finish(file, values))

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        await self._run("release", _releasing(key, claim))

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        await self._run("forget", lambda file: file.execute(_FORGET, (key,)))

    async def aclose(self) -> None:
        """Closes the file; what is in it stays."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=OPERATION_SECONDS)

    async def _run(self, what: str, use: Callable[[sqlite3.Connection], T]) -> T:
        return await self._result(what, self._submit(use))

    def _submit(self, use: Callable[[sqlite3.Connection], T]) -> Future[T]:
        if self._closed:
            raise not_served()
        return self._thread.submit(self._use, use)

    async def _result(self, what: str, job: Future[T]) -> T:
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                result = await asyncio.wrap_future(job)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            self._fails(what, error)
            raise not_served() from error
        self._works(what)
        return result

    def _fails(self, what: str, error: Exception) -> None:
        """Logs the first failure of a kind of use: a full disk may go on serving the others."""
        if what not in self._failing:
            fields = {"silkline.keys.use": what, "error.type": type(error).__name__}
            logger.warning("the file of idempotency keys fails", extra={"ecs": fields})
        self._failing.add(what)

    def _works(self, what: str) -> None:
        if what in self._failing:
            fields = {"silkline.keys.use": what}
            logger.info("the file of idempotency keys is back", extra={"ecs": fields})
        self._failing.discard(what)

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """In the thread; a file that failed is opened again by the next use."""
        try:
            return use(self._file or self._open())
        except (sqlite3.Error, OSError):
            self._close()
            raise

    def _free(self, key: bytes, claim: Claim) -> None:
        """In the thread: undoes a claim that nobody waits for any more."""
        try:
            self._use(_releasing(key, claim))
        except (sqlite3.Error, OSError) as error:
            fields = {"error.type": type(error).__name__}
            logger.warning("a key stays claimed until its lease is over", extra={"ecs": fields})

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        # Without an isolation level, a transaction is what `BEGIN` begins.
        self._file = sqlite3.connect(
            self._path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        write_ahead(self._file, _LOCK_SECONDS)
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
            file.execute(_SHORTEN, (now + lease_seconds, key, now + lease_seconds))
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
        if used_bytes(file) > self._max_bytes:
            file.execute(_SWEEP, (_SWEEP_ROWS,))
        return finished


def _may_hold(job: Future[Found | None]) -> bool:
    """Whether a claim that was given up may have been made, or may still be."""
    return not job.cancel() and not (job.done() and job.exception() is not None)


def _releasing(key: bytes, claim: Claim) -> Callable[[sqlite3.Connection], object]:
    return lambda file: file.execute(_RELEASE, _held(key, claim))


def _held(key: bytes, claim: Claim) -> tuple[bytes, bytes, bytes]:
    return (key, claim.fingerprint, claim.owner)
