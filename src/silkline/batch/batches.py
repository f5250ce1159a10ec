"""Runs the batches of a gateway: checks each file, answers its lines, and writes the results.

Several gateway processes share the folder. The one that holds the lock of a batch's journal runs
it; the kernel releases the lock when that process ends, however it ends, and another continues.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec

from silkline.aio.background import in_background
from silkline.batch import lines
from silkline.batch.batch import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    EXPIRED,
    FAILED,
    FINALIZING,
    IN_PROGRESS,
    VALIDATING,
    Batch,
    Problem,
    StoredFile,
)
from silkline.batch.item import Counts, Result
from silkline.batch.journal import Journal, Settled
from silkline.batch.lines import LineContent
from silkline.batch.runner import Job, run
from silkline.batch.store import BatchStore
from silkline.errors import ConfigError, InternalFault, SilklineError
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.idle import Idle
from silkline.stores.whole_file import replace_whole

logger = logging.getLogger("silkline.gateway")

LOOK_SECONDS = 1.0
"""How often a process looks for batches that other processes created, cancelled or left."""

AT_ONCE = 64
"""Maximum lines of a batch that wait for idle capacity or are answered."""

_MAX_BATCHES = 8
_RETRY_SECONDS = 30.0
_FIRST_PAUSE = 0.5
_OUTPUT, _ERRORS = "output", "error"
_SWEEP_EVERY = 600
_NOT_RUN = {
    EXPIRED: "This request could not be answered before the batch expired.",
    CANCELLED: "This request was not answered, because the batch was cancelled.",
}

Answer = Callable[[Batch, bytes], Coroutine[Any, Any, Result]]
"""Answers a request of a batch: sends the JSON of its body to the batch's endpoint."""


class Batches:
    """All batches of a gateway."""

    def __init__(self, store: BatchStore, idle: Idle, answer: Answer, line_bytes: int) -> None:
        """Takes what it runs with.

        Args:
            store: The files and batches.
            idle: Decides when a request may start.
            answer: Answers a request.
            line_bytes: Maximum bytes of a line.
        """
        self._store = store
        self._idle = idle
        self._answer = answer
        self._limits = lines.Limits(store.settings.batch_lines, line_bytes)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._retry_at: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._outcomes: Counter[str] = Counter(completed=0, failed=0)
        self._unfinished = self._waiting = self._file_bytes = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Runs batches during the block; what they have answered is kept."""
        async with self._idle.watching(), in_background(self._look_often(), "batches"):
            try:
                yield
            finally:
                for task in self._running.values():
                    task.cancel()
                await asyncio.gather(*self._running.values(), return_exceptions=True)

    def changed(self) -> None:
        """Looks at once for a batch that was created or cancelled."""
        self._changed.set()

    def readings(self) -> Iterator[Reading]:
        """The metrics of batches."""
        for outcome, count in self._outcomes.items():
            yield catalogue.BATCH_REQUESTS, (outcome,), count
        yield catalogue.BATCH_UNFINISHED, (), self._unfinished
        yield catalogue.BATCH_WAITING, (), self._waiting
        yield catalogue.BATCH_PREEMPTED, (), self._idle.preempted
        yield catalogue.BATCH_FILE_BYTES, (), self._file_bytes

    async def _look_often(self) -> None:
        """Starts batches, and sweeps; a store that fails is tried again."""
        looks = 0
        while True:
            with suppress(SilklineError):
                if looks % _SWEEP_EVERY == 0:
                    await self._store.sweep()
                await self._look()
            looks += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()

    async def _look(self) -> None:
        found = await self._store.unfinished()
        self._unfinished = len(found)
        self._waiting = sum(one.total - one.completed - one.failed for one in found)
        self._file_bytes = await self._store.stored_bytes()
        tenants = Counter(one.tenant for one in found if one.id in self._running)
        for batch in sorted(found, key=lambda one: tenants[one.tenant]):
            if self._idle.paused() or len(self._running) >= _MAX_BATCHES:
                return
            retry_at = self._retry_at.get(batch.id, 0.0)
            if batch.id not in self._running and retry_at <= self._store.clock():
                task = asyncio.create_task(self._run(batch), name=batch.id)
                self._running[batch.id] = task
                task.add_done_callback(partial(self._ended, batch.id))

    def _ended(self, batch: str, task: asyncio.Task[None]) -> None:
        del self._running[batch]
        self._retry_at.pop(batch, None)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._retry_at[batch] = self._store.clock() + _RETRY_SECONDS
        fields = {"silkline.batch": batch, "error.type": type(error).__name__}
        logger.warning("a batch stopped; it is tried again", extra={"ecs": fields}, exc_info=error)

    async def _run(self, batch: Batch) -> None:
        """Runs a batch to its end, unless another process does."""
        folder = self._store.folder_of(batch.id)
        try:
            journal = await asyncio.to_thread(Journal, folder / "journal.sqlite")
        except ConfigError:
            return  # another process runs it
        try:
            batch = await self._store.change(batch.id, lambda one: one)
            if batch.status == VALIDATING:
                batch = await self._validated(batch)
            if batch.status == IN_PROGRESS:
                batch = await self._answered(batch, journal)
            if batch.status in {CANCELLING, FINALIZING}:
                await self._finalized(batch, journal)
        finally:
            await asyncio.to_thread(journal.close)
        batch = await self._store.change(batch.id, lambda one: one)
        if batch.status not in {VALIDATING, IN_PROGRESS, FINALIZING, CANCELLING}:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _validated(self, batch: Batch) -> Batch:
        path = self._store.path_of(batch.input_file_id)
        try:
            count, problems = await asyncio.to_thread(
                lines.check, path, batch.endpoint, self._limits
            )
        except OSError:
            message = "The input file cannot be read. Upload it again."
            count, problems = 0, [Problem(code="file_not_readable", message=message)]
        now = self._store.clock()

        def change(one: Batch) -> Batch:
            if one.status != VALIDATING:  # cancelled meanwhile
                return msgspec.structs.replace(one, total=0 if problems else count)
            if problems:
                return one.now(FAILED, now, problems=tuple(problems))
            return one.now(IN_PROGRESS, now, total=count)

        return await self._store.change(batch.id, change)

    async def _answered(self, batch: Batch, journal: Journal) -> Batch:
        """Answers the lines until all have a result, or the batch is cancelled or expires."""
        counts = await asyncio.to_thread(journal.counts)

        def on_progress(found: Counts) -> None:
            nonlocal counts
            counts = found

        job = Job(
            entries=lines.read(self._store.path_of(batch.input_file_id), self._limits.line_bytes),
            ask=partial(self._ask, batch),
            fail=_failure,
            at_once=AT_ONCE,
            on_progress=on_progress,
            pause=_FIRST_PAUSE,
        )
        running = asyncio.create_task(run(job, journal))
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=LOOK_SECONDS)
                batch = await self._noted(batch, counts)
                if batch.status != IN_PROGRESS:
                    break
        finally:
            running.cancel()
            await asyncio.wait({running})
        if batch.status == IN_PROGRESS:
            await running
            now = self._store.clock()
            batch = await self._store.change(batch.id, lambda one: _ending(one, COMPLETED, now))
        return await self._noted(batch, await asyncio.to_thread(journal.counts))

    async def _noted(self, batch: Batch, counts: Counts) -> Batch:
        """Shows the counts, and begins the end of a batch whose time is over."""
        now = self._store.clock()

        def change(one: Batch) -> Batch:
            done = {"completed": counts.answered, "failed": counts.failed}
            found = msgspec.structs.replace(one, **done)
            if found.status == IN_PROGRESS and now >= found.expires_at:
                return _ending(found, EXPIRED, now)
            return found

        found = await self._store.change(batch.id, change)
        self._outcomes["completed"] += max(0, found.completed - batch.completed)
        self._outcomes["failed"] += max(0, found.failed - batch.failed)
        return found

    async def _ask(self, batch: Batch, content: LineContent) -> Result:
        return await self._idle.run(content.model, lambda: self._answer(batch, content.body))

    async def _finalized(self, batch: Batch, journal: Journal) -> None:
        """Writes the files of results, then ends the batch: again from the start after a crash."""
        ends_as = batch.ends_as or CANCELLED
        files = await asyncio.to_thread(self._write_files, batch, journal, ends_as)
        counts = await asyncio.to_thread(journal.counts)
        now = self._store.clock()

        def change(one: Batch) -> Batch:
            return one.now(
                ends_as,
                now,
                completed=counts.answered,
                failed=counts.failed,
                output_file_id=files[_OUTPUT].id if _OUTPUT in files else None,
                error_file_id=files[_ERRORS].id if _ERRORS in files else None,
            )

        await self._store.change(batch.id, change, *files.values())
        fields = {"silkline.batch": batch.id, "silkline.status": ends_as}
        logger.info("a batch ended", extra={"ecs": fields})

    def _write_files(self, batch: Batch, journal: Journal, ends_as: str) -> dict[str, StoredFile]:
        """Writes both files; in a thread. A file without a line is not kept."""
        found: dict[str, StoredFile] = {}
        now = int(self._store.clock())
        source = self._store.path_of(batch.input_file_id)
        for kind in (_OUTPUT, _ERRORS):
            entries = lines.read(source, self._limits.line_bytes) if batch.total else iter(())
            name = f"file-{batch.id.removeprefix('batch_')}-{kind}"
            path = self._store.path_of(name)
            size = replace_whole(path, _result_lines(kind, entries, journal.settled(), ends_as))
            if not size:
                path.unlink()
                continue
            found[kind] = StoredFile(
                id=name,
                tenant=batch.tenant,
                purpose="batch_output",
                filename=f"{batch.id}_{kind}.jsonl",
                bytes=size,
                created_at=now,
                expires_at=now + batch.output_ttl,
            )
        return found


def _result_lines(
    kind: str, entries: Iterator[lines.Line], settled: Iterator[Settled], ends_as: str
) -> Iterator[bytes]:
    """The lines of a file of results, in the order of the input.

    Args:
        kind: The answers, or what has none.
        entries: The lines of the input.
        settled: Those that were read, with their results.
        ends_as: How the batch ends, which is why a line has no result.
    """
    upcoming = next(settled, None)
    for line in entries:
        result = None
        if upcoming is not None and upcoming.number == line.number:
            result, upcoming = upcoming.result, next(settled, None)
        if (result is not None and not result.error) is not (kind == _OUTPUT):
            continue
        error = None
        if result is None:
            code = f"batch_{ends_as}"
            error = {"code": code, "message": _NOT_RUN.get(ends_as, "This request was not run.")}
        written = {
            "id": f"batch_req_{line.number}",
            "custom_id": line.id,
            "response": None if result is None else msgspec.Raw(result.content),
            "error": error,
        }
        yield msgspec.json.encode(written) + b"\n"


def _ending(batch: Batch, ends_as: str, now: float) -> Batch:
    """The batch while its files are written; a batch that was cancelled meanwhile stays that."""
    return batch.now(FINALIZING, now, ends_as=ends_as) if batch.status == IN_PROGRESS else batch


def _failure(error: Exception) -> Result:
    """The result of a line that cannot be read: the file changed after it was checked."""
    raise InternalFault("A line of a checked file cannot be read.") from error
