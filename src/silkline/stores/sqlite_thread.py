"""A SQLite file in a thread of its own, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from silkline.errors import Overloaded
from silkline.stores.sqlite import write_ahead

T = TypeVar("T")

logger = logging.getLogger("silkline.gateway")

OPERATION_SECONDS = 2.0
"""Maximum time that a request waits for the disk."""

LOCK_SECONDS = OPERATION_SECONDS / 2
"""How long to wait for another process that is writing."""


class SqliteThread:
    """A SQLite file that a single thread uses; it is opened again after a failure."""

    def __init__(
        self,
        path: Path | None,
        schema: str,
        *,
        content: str,
        unavailable: Callable[[], Overloaded],
    ) -> None:
        """Sets the path; the first use opens or creates the file.

        Args:
            path: The file; None keeps the database in memory.
            schema: Statements that create the tables if they do not exist.
            content: What the file holds, for the log.
            unavailable: Creates the error that operations raise when the file fails.
        """
        self._path = path
        self._schema = schema
        self._content = content
        self._unavailable = unavailable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="silkline-sqlite")
        self._file: sqlite3.Connection | None = None
        self._failing: set[str] = set()
        self.closed = False

    async def run(self, operation: str, use: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `use` in the thread; `operation` names it in the log.

        Raises:
            Overloaded: The file fails, is too slow or is closed.
        """
        return await self.result(operation, self.submit(use))

    def submit(self, use: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Starts an operation, whose result `result` awaits.

        Raises:
            Overloaded: The file is closed.
        """
        if self.closed:
            raise self._unavailable()
        return self._thread.submit(self._use, use)

    async def result(self, operation: str, job: Future[T]) -> T:
        """Awaits an operation; raises as `run` does."""
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                result = await asyncio.wrap_future(job)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            self._log_failure(operation, error)
            raise self._unavailable() from error
        self._log_recovery(operation)
        return result

    async def aclose(self) -> None:
        """Closes the file and keeps its content; idempotent."""
        if self.closed:
            return
        self.closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=OPERATION_SECONDS)

    def _log_failure(self, operation: str, error: Exception) -> None:
        """Logs the first failure of an operation: with a full disk, the others may still work."""
        if operation not in self._failing:
            fields = {"silkline.store.use": operation, "error.type": type(error).__name__}
            logger.warning("the file of %s fails", self._content, extra={"ecs": fields})
        self._failing.add(operation)

    def _log_recovery(self, operation: str) -> None:
        if operation in self._failing:
            fields = {"silkline.store.use": operation}
            logger.info("the file of %s works again", self._content, extra={"ecs": fields})
        self._failing.discard(operation)

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Runs in the thread; after a failure, the next use opens the file again."""
        try:
            return use(self._file or self._open())
        except (sqlite3.Error, OSError):
            self._close()
            raise

    def _open(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        # Without an isolation level, only `BEGIN` starts a transaction.
        self._file = sqlite3.connect(
            self._path or ":memory:",
            timeout=LOCK_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        if self._path is not None:
            write_ahead(self._file, LOCK_SECONDS)
        self._file.executescript(self._schema)
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
