"""The tables of the request history, and the statements that write and prune them.

All functions run in the thread of the SQLite file. One statement inserts many entries: SQLite works
on it without Python's lock, so requests go on meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from silkline.config import HistorySettings
from silkline.gateway.history.content import Packed
from silkline.stores.sqlite import transaction

Row = tuple[float, str, str, str, str, str, float, bytes]
"""A row of the table of requests, without its number."""

SCHEMA = """
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- a cursor; never used again
    at REAL NOT NULL,       -- Unix time in seconds
    id TEXT NOT NULL,
    answer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    error TEXT NOT NULL,
    seconds REAL NOT NULL,
    entry BLOB NOT NULL     -- JSON
);
CREATE INDEX IF NOT EXISTS requests_by_id ON requests (id);
CREATE INDEX IF NOT EXISTS requests_by_answer ON requests (answer);
CREATE INDEX IF NOT EXISTS requests_by_age ON requests (at);
CREATE INDEX IF NOT EXISTS requests_by_tenant ON requests (tenant, number);
CREATE TABLE IF NOT EXISTS contents (
    request INTEGER PRIMARY KEY REFERENCES requests (number) ON DELETE CASCADE,
    expires REAL NOT NULL,
    size INTEGER NOT NULL,
    document BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS images (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (tenant, digest)
);
CREATE TABLE IF NOT EXISTS shown (
    request INTEGER NOT NULL REFERENCES contents (request) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    image INTEGER NOT NULL REFERENCES images (number) ON DELETE CASCADE,
    PRIMARY KEY (request, position)
);
CREATE INDEX IF NOT EXISTS shown_by_image ON shown (image);
COMMIT;
"""
_INSERT = "INSERT INTO requests (at, id, answer, tenant, model, error, seconds, entry) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_ROWS = 250
"""Maximum rows of a statement."""

NAMED = "(id = ? OR answer = ?)"
"""The condition that a request has an id, or its answer has."""

_NUMBER = "SELECT max(number) FROM requests WHERE id = ? AND at = ?"
_PUT_CONTENT = "INSERT OR IGNORE INTO contents (request, expires, size, document) VALUES (?,?,?,?)"
_PUT_IMAGE = (
    "INSERT OR IGNORE INTO images (tenant, digest, size, media_type, data) VALUES (?, ?, ?, ?, ?)"
)
_SHOW = (
    "INSERT OR IGNORE INTO shown (request, position, image) "
    "SELECT ?, ?, number FROM images WHERE tenant = ? AND digest = ?"
)
_TOTALS = "SELECT tenant, count(*) FROM requests GROUP BY tenant"
_OLDEST = (
    "DELETE FROM requests WHERE number IN "
    "(SELECT number FROM requests WHERE tenant = ? ORDER BY number LIMIT ?)"
)
_ORPHANS = "DELETE FROM images WHERE NOT EXISTS (SELECT 1 FROM shown WHERE image = images.number)"
_BYTES = "SELECT (SELECT total(size) FROM contents) + (SELECT total(size) FROM images)"
_OLDEST_CONTENT = "DELETE FROM contents WHERE request = (SELECT min(request) FROM contents)"


def write(
    file: sqlite3.Connection,
    entries: Sequence[Row],
    contents: Sequence[Packed],
    settings: HistorySettings,
    now: float,
) -> None:
    """Adds entries and contents; then deletes what is too old or too much."""
    with transaction(file):
        for start in range(0, len(entries), _ROWS):
            rows = entries[start : start + _ROWS]
            values = [value for row in rows for value in row]
            file.execute(_INSERT + ", ".join([_ROW] * len(rows)), values)
        for content in contents:
            _write_content(file, content)
        _prune(file, settings, now)
        if contents:
            _shrink(file, settings.history_content_bytes)


def delete(file: sqlite3.Connection, condition: str, values: Sequence[object]) -> int:
    """Deletes the requests that meet a condition, and overwrites their bytes in the file."""
    with transaction(file):
        deleted = file.execute(f"DELETE FROM requests WHERE {condition}", values).rowcount  # noqa: S608 - from constants
        file.execute(_ORPHANS)
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return deleted


def _write_content(file: sqlite3.Connection, content: Packed) -> None:
    (number,) = file.execute(_NUMBER, (content.id, content.at)).fetchone()
    document = content.document
    file.execute(_PUT_CONTENT, (number, content.expires, len(document), document))
    for image in content.files:
        row = (content.tenant, image.digest, len(image.data), image.media_type, image.data)
        file.execute(_PUT_IMAGE, row)
    for index, digest in enumerate(content.digests):
        file.execute(_SHOW, (number, index, content.tenant, digest))


def _prune(file: sqlite3.Connection, settings: HistorySettings, now: float) -> None:
    file.execute("DELETE FROM requests WHERE at < ?", (now - settings.history_ttl,))
    totals = dict(file.execute(_TOTALS).fetchall())
    for tenant, excess in _excess(totals, settings.history_count).items():
        file.execute(_OLDEST, (tenant, excess))
    file.execute("DELETE FROM contents WHERE expires <= ?", (now,))
    file.execute(_ORPHANS)


def _shrink(file: sqlite3.Connection, max_bytes: int) -> None:
    """Deletes the oldest content until all of it has at most so many bytes."""
    while file.execute(_BYTES).fetchone()[0] > max_bytes:
        file.execute(_OLDEST_CONTENT)
        file.execute(_ORPHANS)


def _excess(totals: Mapping[str, int], limit: int) -> dict[str, int]:
    """How many requests each tenant has beyond an equal share of the limit (max-min fairness).

    So a tenant that sends many requests, or one whose key is refused, does not push out the
    requests of others.
    """
    if sum(totals.values()) <= limit:
        return {}
    left, level = limit, limit
    for index, count in enumerate(sorted(totals.values())):
        level = left // (len(totals) - index)
        if count > level:
            break
        left -= count
    return {tenant: count - level for tenant, count in totals.items() if count > level}


def read_span(file: sqlite3.Connection, since: float, until: float) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the entry of each request that arrived in a span of Unix time."""
    yield from file.execute(
        "SELECT number, entry FROM requests WHERE at >= ? AND at < ? ORDER BY at", (since, until)
    )


def kept_images(file: sqlite3.Connection, number: int) -> list[tuple[str, bytes]]:
    """Returns the media types and files of a request's images that are kept, by its number."""
    return file.execute(
        "SELECT media_type, data FROM shown JOIN images ON image = images.number "
        "WHERE request = ? ORDER BY position",
        (number,),
    ).fetchall()
