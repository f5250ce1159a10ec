"""Keeps the request history in SQLite, in memory or in a file.

Requests only append to a list. A task writes it once a second, and every read writes it first, so a
request is found as soon as it has ended. Several gateway processes share one file, and find the
requests of the others within a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from silkline.aio.background import in_background
from silkline.config import HistorySettings
from silkline.errors import Overloaded
from silkline.gateway.history import file as tables
from silkline.gateway.history.content import File, Unpacked
from silkline.gateway.history.entry import Entry
from silkline.gateway.history.query import Query
from silkline.service.details import Details
from silkline.stores.sqlite_thread import SqliteThread

WRITE_SECONDS = 1.0
"""Time between two writes."""

PRUNE_SECONDS = 60.0
"""Time between two writes if there is nothing new: they delete what is too old."""

MAX_WAITING = 20_000
"""Maximum entries that wait to be written; further ones are dropped."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Maximum bytes of images that wait to be written; the content of further requests is dropped."""

_ENTRY = """
SELECT number, entry, EXISTS (SELECT 1 FROM contents WHERE request = number AND expires > ?)
FROM requests WHERE
"""
_DOCUMENT = """
SELECT request, document FROM contents
WHERE request = (SELECT max(number) FROM requests WHERE id = ? OR answer = ?) AND expires > ?
"""
_SHOWN = (
    "SELECT position, media_type, digest FROM shown JOIN images ON image = number WHERE request = ?"
)
_IMAGE = """
SELECT digest, media_type, data FROM shown JOIN images ON image = images.number
JOIN contents ON contents.request = shown.request
WHERE shown.request = (SELECT max(number) FROM requests WHERE id = ? OR answer = ?)
    AND position = ? AND expires > ?
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the history.

    Attributes:
        requests: The entries, newest first; each has `content`, whether its content is kept.
        next: The cursor of the next page; None if this is the last one.
    """

    requests: list[dict[str, Any]]
    next: int | None


class HistoryStore:
    """The request history. Every method but `add` raises `Overloaded` when the file fails."""

    def __init__(
        self, settings: HistorySettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Reads the settings; the first use opens the file. `clock` returns Unix time."""
        path = settings.history_file
        self._file = SqliteThread(
            Path(path).expanduser() if path else None,
            tables.SCHEMA,
            content="the request history",
            unavailable=_unavailable,
        )
        self._settings = settings
        self._clock = clock
        self._entries: list[Entry] = []
        self._contents: list[Unpacked] = []
        self._content_bytes = 0
        self._writing = asyncio.Lock()
        self._prune_at = 0.0
        self.dropped = 0
        """Entries that were not kept, because the file failed or was too slow."""

    def add(self, entry: Entry, details: Details) -> None:
        """Adds a request that has ended; returns at once."""
        if not self._settings.history_count:
            return
        if len(self._entries) >= MAX_WAITING:
            self.dropped += 1
            return
        self._entries.append(entry)
        seconds = self._settings.history_content.get(entry.tenant)
        if details.content is None or seconds is None:
            return
        expires = self._clock() + seconds
        characters = 0 if details.asked is None else details.asked.characters
        content = Unpacked(
            entry.id, entry.at, entry.tenant, expires, details.content, details.images, characters
        )
        if self._content_bytes + content.size <= MAX_WAITING_BYTES:
            self._content_bytes += content.size
            self._contents.append(content)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Writes once a second during the block; then writes the rest and closes the file."""
        try:
            async with in_background(self._write_periodically(), "request history"):
                yield
        finally:
            with suppress(Overloaded):
                await self._write()
            await self._file.aclose()

    async def find(self, query: Query) -> Page:
        """Finds requests, newest first."""
        conditions, values = _conditions(query)
        conditions.append("at >= ?")
        values.append(self._oldest())
        statement = f"{_ENTRY} {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
        rows = await self._read(statement, (self._clock(), *values, query.limit + 1))
        shown = rows[: query.limit]
        more = len(rows) > query.limit
        return Page([_shown(*row) for row in shown], shown[-1][0] if more else None)

    async def get(self, name: str) -> dict[str, Any] | None:
        """The newest request with an id, its own or its answer's; None if there is none."""
        page = await self.find(Query(id=name, limit=1))
        return page.requests[0] if page.requests else None

    async def content(self, name: str) -> dict[str, Any] | None:
        """The content of the newest request with an id, as of `get`; None if none is kept.

        It has `messages`, `answers`, `addresses` and `images`: for each image that is kept, its
        index in the request.
        """
        rows = await self._read(_DOCUMENT, (name, name, self._clock()))
        if not rows:
            return None
        number, document = rows[0]
        images = [
            {"index": index, "media_type": media_type, "digest": digest}
            for index, media_type, digest in await self._read(_SHOWN, (number,))
        ]
        return {**msgspec.json.decode(document), "images": images}

    async def image(self, name: str, index: int) -> File | None:
        """An image of the newest request with an id, as the model saw it; None if not kept."""
        rows = await self._read(_IMAGE, (name, name, index, self._clock()))
        return File(*rows[0]) if rows else None

    async def delete(self, name: str) -> int:
        """Deletes all requests with an id, their own or their answer's; returns their number.

        Their content is deleted too.
        """
        return await self._delete(tables.NAMED, name, name)

    async def delete_tenant(self, tenant: str) -> int:
        """Deletes all requests of a tenant and their content; returns their number."""
        return await self._delete("tenant = ?", tenant)

    async def _delete(self, condition: str, *values: str) -> int:
        await self._write()
        use = partial(tables.delete, condition=condition, values=values)
        return await self._file.run("delete", use)

    async def _read(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        await self._write()
        return await self._file.run("read", lambda file: file.execute(statement, values).fetchall())

    async def _write_periodically(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            with suppress(Overloaded):  # the file's first failure is in the log
                await self._write()

    async def _write(self) -> None:
        """Writes what waits, or deletes what is too old if nothing was written for a while."""
        async with self._writing:
            now = self._clock()
            if not self._entries and now < self._prune_at:
                return
            self._prune_at = now + PRUNE_SECONDS
            entries, self._entries = self._entries, []
            contents, self._contents, self._content_bytes = self._contents, [], 0
            packed = [await asyncio.to_thread(content.packed) for content in contents]
            try:
                await self._file.run(
                    "write",
                    lambda file: tables.write(
                        file, list(map(_row, entries)), packed, self._settings, now
                    ),
                )
            except Overloaded:
                self.dropped += len(entries)
                raise

    def _oldest(self) -> float:
        return self._clock() - self._settings.history_ttl


def _row(entry: Entry) -> tables.Row:
    names = (entry.at, entry.id, entry.answer, entry.tenant, entry.model, entry.error)
    return (*names, entry.seconds, msgspec.json.encode(entry))


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    tests: tuple[tuple[str, object], ...] = (
        (tables.NAMED, query.id or None),
        ("seconds >= ?", query.slow),
        ("error = ?", query.error or None),
        ("error <> ?", "" if query.failed else None),
        ("tenant = ?", query.tenant),
        ("? IN (model, substr(model, 1, instr(model || '@', '@') - 1))", query.model or None),
        ("at >= ?", query.since),
        ("number < ?", query.before),
    )
    wanted = [(condition, value) for condition, value in tests if value is not None]
    values = [value for condition, value in wanted for _ in range(condition.count("?"))]
    return [condition for condition, _ in wanted], values


def _shown(number: int, entry: bytes, has_content: int) -> dict[str, Any]:
    del number
    return {**msgspec.json.decode(entry), "content": bool(has_content)}


def _unavailable() -> Overloaded:
    return Overloaded("The request history is unavailable. Retry after the time in Retry-After.")
