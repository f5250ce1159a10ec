"""Stores keys in a SQLite file: for the gateways of one machine, across restarts.

The file is separate from the answer cache: a corrupt or oversized cache may be dropped, but claims
may not.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from silkline.errors import Overloaded
from silkline.idempotency.base import Claim, Found, KeyStore, store_unavailable
from silkline.stores.sqlite import used_bytes
from silkline.stores.sqlite_thread import SqliteThread

logger = logging.getLogger("silkline.gateway")

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size of the file; above it, the oldest finished keys are evicted."""

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
        self._max_bytes = max_bytes
        self._clock = clock
        self._file = SqliteThread(
            path, _SCHEMA, content="idempotency keys", unavailable=store_unavailable
        )

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """See `KeyStore`."""
        job = self._file.submit(lambda file: self._claim(file, key, claim, lease_seconds))
        try:
            return await self._file.result("claim", job)
        except BaseException:
            if _may_hold(job):
                self._free(key, claim)
            raise

    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + lease_seconds, *_claim_key_values(key, claim))
        return await self._file.run(
            "renew", lambda file: file.execute(_RENEW, values).rowcount == 1
        )

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        values = (self._clock() + ttl_seconds, answer, *_claim_key_values(key, claim))
        return await self._file.run("finish", lambda file: self._finish(file, values))

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        await self._file.run("release", _release_job(key, claim))

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        await self._file.run("forget", lambda file: file.execute(_FORGET, (key,)))

    async def aclose(self) -> None:
        """Closes the file and keeps its keys; idempotent."""
        await self._file.aclose()

    def _free(self, key: bytes, claim: Claim) -> None:
        """Releases a claim that timed out or was cancelled, after its job, which may still run."""
        with suppress(Overloaded):  # the store is closed
            self._file.submit(_release_job(key, claim)).add_done_callback(_log_claimed)

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


def _log_claimed(job: Future[object]) -> None:
    error = None if job.cancelled() else job.exception()
    if error is not None:
        fields = {"error.type": type(error).__name__}
        logger.warning("a key stays claimed until its lease expires", extra={"ecs": fields})


def _may_hold(job: Future[Found | None]) -> bool:
    """Whether an abandoned claim may have taken its key, or may still take it."""
    return not job.cancel() and not (job.done() and job.exception() is not None)


def _release_job(key: bytes, claim: Claim) -> Callable[[sqlite3.Connection], object]:
    return lambda file: file.execute(_RELEASE, _claim_key_values(key, claim))


def _claim_key_values(key: bytes, claim: Claim) -> tuple[bytes, bytes, bytes]:
    return (key, claim.fingerprint, claim.owner)
