"""Files and batches of the gateway: their records in SQLite, their content in a folder.

A record is complete or absent, and content is on disk before its record: after a crash there may
be content without a record, which `sweep` deletes, and never a record without content.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from silkline.batch.batch import UNFINISHED, Batch, StoredFile
from silkline.config import BatchSettings
from silkline.errors import InvalidRequest, Overloaded, RateLimited, RequestTooLarge
from silkline.stores.sqlite import transaction
from silkline.stores.sqlite_thread import SqliteThread

_SCHEMA = """
PRAGMA synchronous = FULL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL,
    size INTEGER NOT NULL,
    expires REAL NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    unfinished INTEGER NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_unfinished ON batches (unfinished, number);
COMMIT;
"""
_UNFINISHED = "SELECT content FROM batches WHERE unfinished ORDER BY number"
_COUNT_UNFINISHED = "SELECT count(*) FROM batches WHERE tenant = ? AND unfinished"
_CHANGE = "UPDATE batches SET unfinished = ?, content = ? WHERE id = ?"
_ADD = "INSERT INTO batches (id, tenant, unfinished, content) VALUES (?, ?, ?, ?)"
_FILES = (
    "SELECT content FROM files WHERE tenant = :tenant AND expires > :now "
    "AND (:purpose = '' OR purpose = :purpose) AND (:after = '' OR number {beyond} "
    "(SELECT number FROM files WHERE id = :after)) ORDER BY number {order} LIMIT :limit"
)
_NEWEST = _FILES.format(beyond="<", order="DESC")
_OLDEST = _FILES.format(beyond=">", order="ASC")
_BATCHES = (
    "SELECT content FROM batches WHERE tenant = :tenant AND (:after = '' OR number < "
    "(SELECT number FROM batches WHERE id = :after)) ORDER BY number DESC LIMIT :limit"
)
_ORPHAN_SECONDS = 24 * 3600.0


class BatchStore:
    """Stores files and batches; a tenant finds only its own.

    Every method raises `Overloaded` when the file fails.
    """

    def __init__(
        self, folder: Path, settings: BatchSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Sets the folder; the first use creates it. `clock` returns Unix time."""
        self.folder = folder
        self.settings = settings
        self.clock = clock
        self._file = SqliteThread(
            folder / "batches.sqlite", _SCHEMA, content="batches", unavailable=_unavailable
        )

    def path_of(self, file: str) -> Path:
        """The content of a stored file; `file` must be the id of one."""
        return self.folder / "files" / file

    def folder_of(self, batch: str) -> Path:
        """The folder of a batch's journal."""
        return self.folder / "running" / batch

    async def check_room(self, tenant: str, size: int) -> None:
        """Checks that a tenant may store so many more bytes.

        Raises:
            RequestTooLarge: Its files would have more bytes than it may store.
        """
        held = await self._file.run("check_room", lambda file: _held(file, tenant))
        if held + size > self.settings.batch_tenant_bytes:
            raise RequestTooLarge(
                f"Your files have {held} bytes, and at most {self.settings.batch_tenant_bytes} are "
                "stored. Delete some, then upload again.",
                param="file",
            )

    async def add_file(self, file: StoredFile) -> None:
        """Adds the record of a file whose content is on disk."""
        await self._file.run("add_file", lambda opened: _put_file(opened, file))

    async def find_file(self, tenant: str, name: str) -> StoredFile | None:
        """A tenant's file that has not expired; None if there is none."""
        query = "SELECT content FROM files WHERE id = ? AND tenant = ? AND expires > ?"
        values = (_known(name), tenant, self.clock())
        row = await self._file.run("find_file", lambda file: file.execute(query, values).fetchone())
        return None if row is None else msgspec.json.decode(row[0], type=StoredFile)

    async def list_files(
        self, tenant: str, limit: int, after: str = "", *, oldest_first: bool, purpose: str = ""
    ) -> list[StoredFile]:
        """A page of a tenant's files; one more than `limit` says that there are others."""
        values = {
            "tenant": tenant,
            "now": self.clock(),
            "purpose": _known(purpose),
            "after": _known(after),
            "limit": limit + 1,
        }
        query = _OLDEST if oldest_first else _NEWEST
        rows = await self._file.run("list", lambda file: file.execute(query, values).fetchall())
        return [msgspec.json.decode(row[0], type=StoredFile) for row in rows]

    async def delete_file(self, tenant: str, name: str) -> bool:
        """Deletes a file; False if the tenant has none of this name.

        Raises:
            InvalidRequest: A batch that has not ended needs it.
        """

        def delete(file: sqlite3.Connection) -> bool:
            with transaction(file):
                if _known(name) in _inputs(file):
                    raise InvalidRequest(
                        "A batch that has not ended needs this file. Cancel the batch, or wait."
                    )
                found = file.execute(
                    "DELETE FROM files WHERE id = ? AND tenant = ?", (_known(name), tenant)
                )
                if found.rowcount:
                    self.path_of(name).unlink(missing_ok=True)
                return found.rowcount == 1

        return await self._file.run("delete_file", delete)

    async def add_batch(self, batch: Batch) -> None:
        """Adds a batch.

        Raises:
            RateLimited: The tenant has as many unfinished batches as it may have.
        """

        def add(file: sqlite3.Connection) -> None:
            with transaction(file):
                held = file.execute(_COUNT_UNFINISHED, (batch.tenant,)).fetchone()[0]
                if held >= self.settings.batch_tenant_batches:
                    raise RateLimited(
                        f"You have {held} batches that have not ended, and may have no more. Wait "
                        "for one, or cancel one.",
                        retry_after=60,
                    )
                content = msgspec.json.encode(batch)
                file.execute(_ADD, (batch.id, batch.tenant, True, content))

        await self._file.run("add_batch", add)

    async def find_batch(self, tenant: str, name: str) -> Batch | None:
        """A tenant's batch; None if there is none."""
        query = "SELECT content FROM batches WHERE id = ? AND tenant = ?"
        values = (_known(name), tenant)
        row = await self._file.run("find", lambda file: file.execute(query, values).fetchone())
        return None if row is None else _batch(row[0])

    async def list_batches(self, tenant: str, limit: int, after: str = "") -> list[Batch]:
        """A page of a tenant's batches, newest first; one more than `limit` if there are others."""
        values = {"tenant": tenant, "after": _known(after), "limit": limit + 1}
        rows = await self._file.run("list", lambda file: file.execute(_BATCHES, values).fetchall())
        return [_batch(row[0]) for row in rows]

    async def unfinished(self) -> list[Batch]:
        """All batches that have not ended, oldest first."""
        rows = await self._file.run("look", lambda file: file.execute(_UNFINISHED).fetchall())
        return [_batch(row[0]) for row in rows]

    async def change(
        self, batch: str, change: Callable[[Batch], Batch], *files: StoredFile
    ) -> Batch:
        """Changes a batch in one transaction, and adds the files that it has from then on."""

        def changed(file: sqlite3.Connection) -> Batch:
            with transaction(file):
                query = "SELECT content FROM batches WHERE id = ?"
                found = change(_batch(file.execute(query, (batch,)).fetchone()[0]))
                content = msgspec.json.encode(found)
                file.execute(_CHANGE, (found.status in UNFINISHED, content, batch))
                for one in files:
                    _put_file(file, one)
                return found

        return await self._file.run("change", changed)

    async def stored_bytes(self) -> int:
        """Bytes of all files."""
        query = "SELECT coalesce(sum(size), 0) FROM files"
        return await self._file.run("bytes", lambda file: int(file.execute(query).fetchone()[0]))

    async def sweep(self) -> None:
        """Deletes expired files, and what a crash left without a record."""

        def sweep(file: sqlite3.Connection) -> None:
            query = "SELECT id FROM files WHERE expires <= ?"
            expired = {row[0] for row in file.execute(query, (self.clock(),))}
            expired -= _inputs(file)
            file.executemany("DELETE FROM files WHERE id = ?", [(name,) for name in expired])
            known = {row[0] for row in file.execute("SELECT id FROM files")}
            unfinished = {_batch(row[0]).id for row in file.execute(_UNFINISHED).fetchall()}
            for folder in (self.folder / "running").glob("*"):
                if folder.name not in unfinished:
                    shutil.rmtree(folder, ignore_errors=True)
            for path in (self.folder / "files").glob("*"):
                old = time.time() - path.stat().st_mtime > _ORPHAN_SECONDS
                if path.name not in known and (old or path.name in expired):
                    path.unlink(missing_ok=True)

        await self._file.run("sweep", sweep)

    async def aclose(self) -> None:
        """Closes the file; idempotent."""
        await self._file.aclose()


def new_id(kind: str) -> str:
    """A new id, such as `file-0123...`; `kind` is its prefix."""
    return f"{kind}{secrets.token_hex(12)}"


def _known(name: str) -> str:
    """An id as in the file; clients may send any text as one, such as half a surrogate pair."""
    return name.encode("utf-8", "replace").decode()


def _batch(content: bytes) -> Batch:
    return msgspec.json.decode(content, type=Batch)


def _inputs(file: sqlite3.Connection) -> set[str]:
    """The input files of batches that have not ended."""
    return {_batch(row[0]).input_file_id for row in file.execute(_UNFINISHED).fetchall()}


def _held(file: sqlite3.Connection, tenant: str) -> int:
    query = "SELECT coalesce(sum(size), 0) FROM files WHERE tenant = ?"
    return int(file.execute(query, (tenant,)).fetchone()[0])


def _put_file(file: sqlite3.Connection, one: StoredFile) -> None:
    file.execute(
        "INSERT OR REPLACE INTO files (id, tenant, purpose, size, expires, content) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (one.id, one.tenant, one.purpose, one.bytes, one.expires_at, msgspec.json.encode(one)),
    )


def _unavailable() -> Overloaded:
    return Overloaded("The store of batches is unavailable. Retry after the time in Retry-After.")
