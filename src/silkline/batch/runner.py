"""Runs a job: reads items, asks each question once, and commits results as they come.

The command line and the gateway's batches run through this one path. Memory is bounded: as many
items are read ahead as are asked at once, and results go to the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from silkline.batch.item import Ask, Counts, Entry, Fail, Result, Work
from silkline.batch.journal import Journal
from silkline.errors import SilklineError

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 64
"""Maximum items that are read and recorded together."""

CHUNK_BYTES = 8 * 1024 * 1024
"""A chunk ends once its items have this many bytes."""

ATTEMPTS = 8
"""How often a question is asked whose error may pass, such as that of a lost worker."""

_FIRST_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A job for `run`.

    Attributes:
        entries: The input, in a fixed order: the same in each run.
        ask: Answers a question.
        fail: Makes the result of an item that cannot be read.
        at_once: Maximum questions in flight.
        on_progress: Called with the counts after each group of results.
        pause: Seconds before the second attempt; each further pause is twice as long.
    """

    entries: Iterator[Entry[T]]
    ask: Ask[T]
    fail: Fail
    at_once: int
    on_progress: Callable[[Counts], None] = lambda _: None
    pause: float = _FIRST_PAUSE


async def run(job: Job[T], journal: Journal) -> Counts:
    """Runs a job until each item has a result; continues what earlier runs of it began.

    Raises:
        SilklineError: The input cannot be read further, or the journal cannot be written; what was
            committed stays.
    """
    with ThreadPoolExecutor(1, "batch-journal") as writer, ThreadPoolExecutor(1, "batch") as reader:
        return await _Run(job, journal, writer, reader).run()


@dataclass(slots=True)
class _Chunk(Generic[T]):
    """Items that were read together."""

    items: list[tuple[int, str, bytes]] = field(default_factory=list)
    works: dict[bytes, Work[T]] = field(default_factory=dict)
    failures: list[tuple[bytes, Result]] = field(default_factory=list)
    ended: bool = False


class _Run(Generic[T]):
    def __init__(
        self,
        job: Job[T],
        journal: Journal,
        writer: ThreadPoolExecutor,
        reader: ThreadPoolExecutor,
    ) -> None:
        self._job = job
        self._journal = journal
        self._threads = writer, reader
        self._known = bytearray()
        self._numbered = enumerate(job.entries)
        self._slots = asyncio.Semaphore(job.at_once)
        self._waiting: dict[bytes, int] = {}
        """How many items wait for each question in flight."""
        self._results: list[tuple[bytes, Result]] = []
        self._has_results = asyncio.Event()
        self._counts = Counts()

    async def run(self) -> Counts:
        """Runs the job; see the module's `run`."""
        self._known = await self._in_journal(self._journal.begin)
        self._counts = await self._in_journal(self._journal.counts)
        self._counts.known = self._counts.items
        known = self._counts.known
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write())
                async with asyncio.TaskGroup() as asking:
                    await self._read(asking)
                writing.cancel()
        except* SilklineError as errors:
            raise _first(errors) from None
        finally:
            # What was answered is kept, also when the run is cancelled.
            await asyncio.shield(self._flush())
        found = await self._in_journal(self._journal.counts)
        return replace(found, known=known)

    async def _read(self, asking: asyncio.TaskGroup) -> None:
        """Reads the input chunk by chunk, and starts a task for each new question."""
        loop, ended = asyncio.get_running_loop(), False
        while not ended:
            chunk = await loop.run_in_executor(self._threads[1], self._next_chunk)
            ended = chunk.ended
            if chunk.items:
                settled = await self._in_journal(partial(self._journal.note, chunk.items))
                new = self._count(chunk.items, settled)
                for key, result in chunk.failures:
                    self._settle(key, result)
                for key in new & chunk.works.keys():
                    await self._slots.acquire()
                    asking.create_task(self._ask(chunk.works[key]))

    def _next_chunk(self) -> _Chunk[T]:
        """Reads the next items without a result; in a thread."""
        chunk: _Chunk[T] = _Chunk(ended=True)
        size = 0
        for number, entry in islice(self._numbered, CHUNK):
            chunk.ended = False
            if number < len(self._known) and self._known[number]:
                continue
            try:
                work = entry.read()
            except SilklineError as error:
                key = b"item %d" % number
                chunk.failures.append((key, self._job.fail(error)))
            else:
                key = work.question
                chunk.works.setdefault(key, work)
                size += work.size
            chunk.items.append((number, entry.id, key))
            if size > CHUNK_BYTES:
                break
        return chunk

    def _count(self, items: list[tuple[int, str, bytes]], settled: dict[bytes, str]) -> set[bytes]:
        """Counts items; returns the questions that are neither settled nor in flight."""
        new: set[bytes] = set()
        self._counts.items += len(items)
        for _, _, key in items:
            if key in settled:
                self._counts.count(settled[key], 1)
            else:
                if key not in self._waiting:
                    new.add(key)
                self._waiting[key] = self._waiting.get(key, 0) + 1
        return new

    async def _ask(self, work: Work[T]) -> None:
        pauses = [self._job.pause * 2**attempt for attempt in range(ATTEMPTS - 1)]
        try:
            result = await self._job.ask(work.content)
            while result.transient and pauses:
                await asyncio.sleep(pauses.pop(0))
                result = await self._job.ask(work.content)
            self._settle(work.question, result)
        finally:
            self._slots.release()

    def _settle(self, key: bytes, result: Result) -> None:
        self._results.append((key, result))
        self._has_results.set()

    async def _write(self) -> None:
        """Commits results in groups: those that came while the last group was written."""
        while True:
            await self._has_results.wait()
            self._has_results.clear()
            await self._flush()
            self._job.on_progress(self._counts)

    async def _flush(self) -> None:
        results, self._results = self._results, []
        if not results:
            return
        await self._in_journal(partial(self._journal.add, results))
        self._counts.asked += len(results)
        for key, result in results:
            self._counts.count(result.error, self._waiting.pop(key))

    async def _in_journal(self, use: Callable[[], R]) -> R:
        # Shielded: a cancelled run must not drop results that wait for the thread.
        job = asyncio.get_running_loop().run_in_executor(self._threads[0], use)
        return await asyncio.shield(job)


def _first(errors: BaseExceptionGroup[SilklineError]) -> SilklineError:
    """The first error of a group, however nested."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, SilklineError):
        raise found
    return found
