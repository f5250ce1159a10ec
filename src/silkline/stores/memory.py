"""Memory of one process, or memory that the gateway processes of one server share.

Both kinds offer counters, tables and locks. Shared memory is an anonymous file (memfd_create(2))
that each process maps:

- A counter has a cell for each process. A process writes only its own cell, so no lock is needed.
- A table is read and changed under a lock of the file (POSIX `fcntl`). The kernel releases a lock
  when its process ends, even by a kill.

Linux only.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from typing import Self

from silkline.errors import ConfigError

MAX_PROCESSES = 64
MAX_COUNTERS = 256

Record = tuple[float, float, float]
"""A record of a table. The first number is the time until when it is of use."""


class Counter(ABC):
    """A number that a process adds to, and its sum over all processes."""

    @property
    @abstractmethod
    def own(self) -> int:
        """What this process added."""

    @property
    @abstractmethod
    def total(self) -> int:
        """What all processes added."""

    @property
    @abstractmethod
    def process(self) -> int:
        """The index of this process."""

    @abstractmethod
    def each(self) -> Sequence[int]:
        """What each process added, in their order."""

    @abstractmethod
    def add(self, amount: int) -> None:
        """Adds to this process's number."""


class Table(ABC):
    """A bounded table of records by key."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of records; in shared memory at most that many."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keeps other processes from changing the table while the block runs; must be short."""

    @abstractmethod
    def get(self, key: bytes) -> Record | None:
        """The record of a key; None if there is none."""

    @abstractmethod
    def put(self, key: bytes, record: Record) -> None:
        """Sets a record. A full table drops another one: in shared memory, one of low time."""

    @abstractmethod
    def drop(self, key: bytes) -> None:
        """Removes a record, if there is one."""


class Lock(ABC):
    """A lock that at most one process holds."""

    @abstractmethod
    def try_acquire(self) -> bool:
        """Takes the lock if no other process holds it; never waits."""

    @abstractmethod
    def release(self) -> None:
        """Frees the lock."""


class Region(IntEnum):
    """What the tables and locks are for; each has its own lock in the file."""

    LIMITS = 0
    QUARANTINE = 1
    ISOLATION = 2


class Memory(ABC):
    """Counters, tables and locks."""

    @abstractmethod
    def counter(self, column: int) -> Counter:
        """A counter; `column` is below `MAX_COUNTERS`, and the same in all processes."""

    @abstractmethod
    def table(self, region: Region, max_records: int) -> Table:
        """A table. In shared memory it holds `RECORDS` records, whatever `max_records`."""

    @abstractmethod
    def lock(self, region: Region) -> Lock:
        """A lock."""


class PrivateMemory(Memory):
    """Memory of a single process."""

    def counter(self, column: int) -> Counter:
        """A counter of its own for each call."""
        del column
        return _PrivateCounter()

    def table(self, region: Region, max_records: int) -> Table:
        """A table of its own for each call."""
        del region
        return PrivateTable(max_records)

    def lock(self, region: Region) -> Lock:
        """A lock that is always free."""
        del region
        return _FreeLock()


class _PrivateCounter(Counter):
    def __init__(self) -> None:
        self._own = 0

    @property
    def own(self) -> int:
        return self._own

    @property
    def total(self) -> int:
        return self._own

    @property
    def process(self) -> int:
        return 0

    def each(self) -> Sequence[int]:
        return (self._own,)

    def add(self, amount: int) -> None:
        self._own += amount


class PrivateTable(Table):
    """A table in this process; when full, it drops the record that was not set for longest."""

    def __init__(self, max_records: int) -> None:
        self._maximum = max_records
        self._records: OrderedDict[bytes, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def locked(self) -> AbstractContextManager[None]:
        """Nothing to lock."""
        return nullcontext()

    def get(self, key: bytes) -> Record | None:
        """See `Table`."""
        return self._records.get(key)

    def put(self, key: bytes, record: Record) -> None:
        """See `Table`."""
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > self._maximum:
            self._records.popitem(last=False)

    def drop(self, key: bytes) -> None:
        """See `Table`."""
        self._records.pop(key, None)


class _FreeLock(Lock):
    def try_acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


RECORDS = 16_384
"""Records of a shared table."""

_PROBES = 32
"""Rows that a key may be in."""

_CELL = 8
_CELLS = MAX_PROCESSES * MAX_COUNTERS * _CELL
_ROW = struct.Struct("=16s3d")
_TABLE = 8 + RECORDS * _ROW.size
_TABLES = (Region.LIMITS, Region.QUARANTINE)
_BYTES = _CELLS + len(_TABLES) * _TABLE
_EMPTY = bytes(16)


class SharedMemory(Memory):
    """The memory that the gateway processes of a server share; see the module."""

    def __init__(self, descriptor: int, processes: int, process: int = 0) -> None:
        """Maps the file; use `create`, or pass the descriptor that a process inherited.

        It is mapped until the process ends: closing any descriptor of the file would release the
        locks.

        Args:
            descriptor: The file.
            processes: Number of gateway processes, at most `MAX_PROCESSES`.
            process: The index of this one; its owner, which changes no counter, needs none.
        """
        self.descriptor = descriptor
        self._processes = processes
        self._process = process
        self._bytes = mmap.mmap(descriptor, _BYTES)
        self._cells = memoryview(self._bytes)[:_CELLS].cast("q")

    @classmethod
    def create(cls, processes: int) -> Self:
        """Creates the memory, for this number of gateway processes."""
        descriptor = os.memfd_create("silkline")
        os.ftruncate(descriptor, _BYTES)
        return cls(descriptor, processes)

    def forget(self, process: int) -> None:
        """Clears the cells of a process that has ended."""
        begin = process * MAX_COUNTERS * _CELL
        self._bytes[begin : begin + MAX_COUNTERS * _CELL] = bytes(MAX_COUNTERS * _CELL)

    def counter(self, column: int) -> Counter:
        """The counter of this column, which all processes share.

        Raises:
            ConfigError: There are not that many counters.
        """
        if column >= MAX_COUNTERS:
            raise ConfigError(
                f"Several gateway processes can use at most {MAX_COUNTERS - 1} workers and remotes "
                "together. Leave some out, or set processes = 1."
            )
        rows = range(column, self._processes * MAX_COUNTERS, MAX_COUNTERS)
        return _SharedCounter(self._cells, rows, rows[self._process])

    def table(self, region: Region, max_records: int) -> Table:
        """The table, which all processes share."""
        del max_records
        begin = _CELLS + _TABLES.index(region) * _TABLE
        return _SharedTable(self.descriptor, region, memoryview(self._bytes)[begin:][:_TABLE])

    def lock(self, region: Region) -> Lock:
        """The lock, which all processes share."""
        return _SharedLock(self.descriptor, region)


class _SharedCounter(Counter):
    def __init__(self, cells: memoryview[int], rows: range, own: int) -> None:
        self._cells = cells
        self._all = rows
        self._own = own

    @property
    def own(self) -> int:
        return self._cells[self._own]

    @property
    def total(self) -> int:
        return sum(map(self._cells.__getitem__, self._all))

    @property
    def process(self) -> int:
        return self._all.index(self._own)

    def each(self) -> Sequence[int]:
        return [self._cells[index] for index in self._all]

    def add(self, amount: int) -> None:
        self._cells[self._own] += amount


class _SharedTable(Table):
    """Rows of a key's digest and its record.

    A key is in one of the `_PROBES` rows from the one that its digest names.
    """

    def __init__(self, descriptor: int, region: Region, view: memoryview[int]) -> None:
        self._descriptor = descriptor
        self._region = region
        self._count = view[:8].cast("q")
        self._rows = view[8:]

    def __len__(self) -> int:
        return self._count[0]

    @contextmanager
    def locked(self) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, self._region)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._region)

    def get(self, key: bytes) -> Record | None:
        digest = _digest(key)
        for found, _, record in self._probe(digest):
            if found == digest:
                return record
        return None

    def put(self, key: bytes, record: Record) -> None:
        digest = _digest(key)
        rows = list(self._probe(digest))
        same = [row for row in rows if row[0] == digest]
        free = [row for row in rows if row[0] == _EMPTY]
        _, offset, *_ = (same or free or [min(rows, key=lambda row: row[2][0])])[0]
        if free and not same:
            self._count[0] += 1
        _ROW.pack_into(self._rows, offset, digest, *record)

    def drop(self, key: bytes) -> None:
        digest = _digest(key)
        for found, offset, *_ in self._probe(digest):
            if found == digest:
                # The count last: if this process dies in between, no row is left uncounted.
                _ROW.pack_into(self._rows, offset, _EMPTY, 0.0, 0.0, 0.0)
                self._count[0] -= 1

    def _probe(self, digest: bytes) -> Iterator[tuple[bytes, int, Record]]:
        begin = int.from_bytes(digest[:4], "little")
        for row in range(begin, begin + _PROBES):
            offset = row % RECORDS * _ROW.size
            found, until, first, second = _ROW.unpack_from(self._rows, offset)
            yield found, offset, (until, first, second)


class _SharedLock(Lock):
    def __init__(self, descriptor: int, region: Region) -> None:
        self._descriptor = descriptor
        self._region = region

    def try_acquire(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._region)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._region)


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()
