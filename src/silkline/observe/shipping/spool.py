"""A spool: events on disk that are not shipped yet.

Events that `append` accepted survive a `kill -9`, and a crash of the machine once they were synced.
Each process that opens a spool writes segments of its own and appends to no older one. So there is
nothing to repair: reading stops where a segment does.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from silkline.observe.shipping.segment import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    Header,
    decode_header,
    decode_records,
    encode_header,
    encode_record,
    record_bytes,
)

_SEGMENTS = 16
"""A full spool has about this many segments; space is freed by whole segments."""

_SUFFIX = ".events"
_POSITION = "position"


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order in which they were logged.

    Attributes:
        life: As `Header.life`.
        first: The sequence number of the first one.
        events: The events.
    """

    life: str
    first: int
    events: list[bytes]

    @property
    def next(self) -> int:
        """The sequence number after the last event."""
        return self.first + len(self.events)


@dataclass(slots=True)
class _Segment:
    """A segment, the bytes that were completely written to it, and whether it is still written."""

    path: Path
    size: int
    active: bool = False


@dataclass(slots=True)
class _Reader:
    """The open first segment, and the offset and sequence number of the next event in it."""

    file: int
    life: str
    sequence: int
    offset: int = HEADER_BYTES


class Spool:
    """The events in a folder that are not shipped yet; one thread may append and another read.

    Attributes:
        size: Bytes of the segments.
        damaged: Segments whose end could not be read.
        failure: Why `append` last accepted too few events; empty if it accepted them all.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Opens the spool in a folder; the caller makes sure that nothing else uses it.

        Args:
            folder: The folder, created if it is missing.
            max_bytes: Maximum bytes of the segments.

        Raises:
            OSError: The folder cannot be created or read.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.damaged = 0
        self.failure = ""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max_bytes // _SEGMENTS
        self._lock = threading.RLock()
        paths = sorted(folder.glob(f"*{_SUFFIX}"))
        self._segments = deque(_Segment(path, path.stat().st_size) for path in paths)
        self.size = sum(segment.size for segment in self._segments)
        self._position = _number(folder / _POSITION)
        self._life = secrets.token_hex(8)
        self._next = self._first_sequence()
        self._file = -1
        self._unsynced = False
        self._reader: _Reader | None = None

    @property
    def empty(self) -> bool:
        """Whether all events have been shipped."""
        return not self._segments or self._position >= self._next

    def append(self, events: Sequence[bytes]) -> int:
        """Writes events, each of at most `MAX_EVENT_BYTES`, in their order.

        Returns:
            How many were accepted. Fewer than all if the spool is full or the disk fails; see
            `failure`.
        """
        accepted = 0
        self.failure = ""
        with self._lock:
            try:
                while accepted < len(events) and not self.failure:
                    written = self._append_to_segment(events[accepted:])
                    accepted += written
                    self.failure = "" if written else "it is full"
            except OSError as error:
                self._end_segment()
                self.failure = os.strerror(error.errno or 0)
        return accepted

    def sync(self) -> None:
        """Makes accepted events survive a crash of the machine."""
        with self._lock:
            if self._unsynced and self._file >= 0:
                with suppress(OSError):
                    os.fdatasync(self._file)
                self._unsynced = False

    def read(self, max_bytes: int) -> Batch | None:
        """Returns the first events that are not shipped; the same ones until `commit`.

        Args:
            max_bytes: Maximum bytes of the records, but at least one event is returned.

        Returns:
            The events; None if there are none.
        """
        with self._lock:
            while self._segments:
                segment = self._segments[0]
                reader = self._reader or self._open_first(segment)
                if reader is not None:
                    events = self._read_events(reader, segment, max_bytes)
                    if events:
                        return Batch(reader.life, reader.sequence, events)
                    if segment.active and reader.offset >= segment.size:
                        return None
                self._drop_first()
        return None

    def commit(self, batch: Batch) -> None:
        """Marks what `read` returned as shipped; after a crash it may be read again."""
        with self._lock:
            if self._reader is not None:
                _skip(self._reader, batch.events)
            self._position = batch.next
            draft = self._folder / f"{_POSITION}.new"
            with suppress(OSError):  # without it, events are sent again, under the same ids
                draft.write_text(f"{self._position}\n", encoding="ascii")
                draft.replace(self._folder / _POSITION)

    def close(self) -> None:
        """Closes the files, and removes those with nothing to ship; idempotent."""
        with self._lock:
            empty = self.empty
            self._end_segment()
            while empty and self._segments:
                self._drop_first()
            self._close_reader()

    def _first_sequence(self) -> int:
        """A sequence number larger than all before, also of events that are shipped and removed.

        Counts from the time in microseconds, so that it fits the numbers of JavaScript.
        """
        bounds = [time.time_ns() // 1000, self._position]
        if self._segments:
            last = self._segments[-1]
            bounds.append(int(last.path.stem) + last.size // record_bytes(b""))
        return max(bounds) + 1

    def _append_to_segment(self, events: Sequence[bytes]) -> int:
        """Writes the events that the current segment has room for; returns how many."""
        segment = self._active()
        if segment is None:
            return 0
        records: list[bytes] = []
        size = 0
        for event in events:
            size += record_bytes(event)
            if self.size + size > self._max_bytes:
                break
            records.append(encode_record(self._next + len(records), event))
            if segment.size + size >= self._segment_bytes:
                break
        self._write(segment, b"".join(records))
        self._next += len(records)
        return len(records)

    def _active(self) -> _Segment | None:
        """The segment to append to; None if there is no room for a new one."""
        last = self._segments[-1] if self._segments else None
        if last is not None and last.active and last.size < self._segment_bytes:
            return last
        self._end_segment()
        if self.size + HEADER_BYTES > self._max_bytes:
            return None
        path = self._folder / f"{self._next:020d}{_SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        segment = _Segment(path, 0, active=True)
        self._segments.append(segment)
        self._write(segment, encode_header(Header(self._life, self._next)))
        return segment

    def _write(self, segment: _Segment, data: bytes) -> None:
        """Appends data as a whole; a part that was written before a failure is removed."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, segment.size)
            raise
        self._unsynced = True
        segment.size += len(data)
        self.size += len(data)

    def _end_segment(self) -> None:
        """Ends the active segment; removes it if it has no events."""
        self.sync()
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1
        if not self._segments or not self._segments[-1].active:
            return
        last = self._segments[-1]
        last.active = False
        if last.size <= HEADER_BYTES:
            self._segments.pop()
            self._remove(last)
            if not self._segments:
                self._close_reader()

    def _open_first(self, segment: _Segment) -> _Reader | None:
        """Opens the first segment at the first unshipped event; None if it is unreadable."""
        try:
            file = os.open(segment.path, os.O_RDONLY)
        except OSError:
            return None
        header = decode_header(os.pread(file, HEADER_BYTES, 0))
        if header is None:
            os.close(file)
            return None
        reader = self._reader = _Reader(file, header.life, header.first)
        while reader.sequence < self._position:
            events = self._read_events(reader, segment, MAX_RECORD_BYTES)
            if not events:
                break
            _skip(reader, events[: self._position - reader.sequence])
        return reader

    def _read_events(self, reader: _Reader, segment: _Segment, max_bytes: int) -> list[bytes]:
        """The next events of the open segment; empty if there are none, or they are damaged."""
        limit = min(max(max_bytes, MAX_RECORD_BYTES), segment.size - reader.offset)
        try:
            data = os.pread(reader.file, limit, reader.offset)
        except OSError:
            return []
        return decode_records(data, reader.sequence, max_bytes)

    def _drop_first(self) -> None:
        """Removes the first segment, of which nothing more can be read."""
        segment, reader = self._segments[0], self._reader
        if segment.size > (reader.offset if reader is not None else HEADER_BYTES):
            self.damaged += 1
        if segment.active:  # its end is damaged; the next event begins a new one
            self._end_segment()
        self._close_reader()
        if self._segments and self._segments[0] is segment:
            self._segments.popleft()
            self._remove(segment)

    def _remove(self, segment: _Segment) -> None:
        self.size -= segment.size
        with suppress(OSError):
            segment.path.unlink()

    def _close_reader(self) -> None:
        if self._reader is not None:
            os.close(self._reader.file)
            self._reader = None


def _skip(reader: _Reader, events: Sequence[bytes]) -> None:
    reader.offset += sum(map(record_bytes, events))
    reader.sequence += len(events)


def _number(path: Path) -> int:
    """The number in a file; 0 if there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
