"""Stores keys in a SQLite file: for the gateways of one machine, across restarts.

The file is separate from the answer cache: a corrupt or oversized cache may be dropped, but claims
may not.
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

from silkline.idempotency.base import Claim, Found, KeyStore, store_unavailable
from silkline.stores.sqlite import used_bytes, write_ahead

T = TypeVar("T")

logger = logging.getLogger("silkline.gateway")

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size of the file; above it, the oldest finished keys are evicted."""

OPERATION_SECONDS = 2.0
"""Maximum time that a request waits for the disk."""

_LOCK_SECONDS = OPERATION_SECONDS / 2
_SWEEP_ROWS = 64
_SCHEMA = """
PRAGMA synchronous = NORMAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS keys (
    name BLOB NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    owner BLOB NOT NULL,
    answer BLOB,            -- NULL while the request is running
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
# If the clock was set back, a dead owner's claim would otherwise last that much longer.
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
    """Stores keys in a SQLite file, which a single thread uses."""

    def __init__(
        self,
        path: Path,
        max_bytes: int = MAX_BYTES,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sets the path; the first use opens or creates the file. `clock` returns Unix time."""
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
        values = (self._clock() + lease_seconds, *_claim_key_values(key, claim))
        return await self._run("renew", lambda file: file.execute(_RENEW, values).rowcount == 1)

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + ttl_seconds, answer, *_claim_key_values(key, claim))
        return await self._run("finish", lambda file: self._finish(file, values))

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        await self._run("release", _release_job(key, claim))

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        await self._run("forget", lambda file: file.execute(_FORGET, (key,)))

    async def aclose(self) -> None:
        """Closes the file and keeps its keys; idempotent."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=OPERATION_SECONDS)

    async def _run(self, operation: str, use: Callable[[sqlite3.Connection], T]) -> T:
        return await self._result(operation, self._submit(use))

    def _submit(self, use: Callable[[sqlite3.Connection], T]) -> Future[T]:
        if self._closed:
            raise store_unavailable()
        return self._thread.submit(self._use, use)

    async def _result(self, operation: str, job: Future[T]) -> T:
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                result = await asyncio.wrap_future(job)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            self._log_failure(operation, error)
            raise store_unavailable() from error
        self._log_recovery(operation)
        return result

    def _log_failure(self, operation: str, error: Exception) -> None:
        """Logs the first failure of an operation: with a full disk, the others may still work."""
        if operation not in self._failing:
            fields = {"silkline.keys.use": operation, "error.type": type(error).__name__}
            logger.warning("the file of idempotency keys fails", extra={"ecs": fields})
        self._failing.add(operation)

    def _log_recovery(self, operation: str) -> None:
        if operation in self._failing:
            fields = {"silkline.keys.use": operation}
            logger.info("the file of idempotency keys works again", extra={"ecs": fields})
        self._failing.discard(operation)

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Runs in the thread; after a failure, the next use opens the file again."""
        try:
            return use(self._file or self._open())
        except (sqlite3.Error, OSError):
            self._close()
            raise

    def _free(self, key: bytes, claim: Claim) -> None:
        """Runs in the thread; releases a claim that timed out or was cancelled."""
        try:
            self._use(_release_job(key, claim))
        except (sqlite3.Error, OSError) as error:
            fields = {"error.type": type(error).__name__}
            logger.warning("a key stays claimed until its lease expires", extra={"ecs": fields})

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        # Without an isolation level, only `BEGIN` starts a transaction.
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
    """Whether an abandoned claim may have taken its key, or may still take it."""
    return not job.cancel() and not (job.done() and job.exception() is not None)


def _release_job(key: bytes, claim: Claim) -> Callable[[sqlite3.Connection], object]:
    return lambda file: file.execute(_RELEASE, _claim_key_values(key, claim))


def _claim_key_values(key: bytes, claim: Claim) -> tuple[bytes, bytes, bytes]:
    return (key, claim.fingerprint, claim.owner)
