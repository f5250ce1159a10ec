"""Starts and ends a worker process, and relays its log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import psutil

from silkline.engines.base import EngineOptions
from silkline.engines.worker import wire
from silkline.engines.worker.logs import MAX_LINE_BYTES, relay
from silkline.engines.worker.start_errors import START_ERRORS
from silkline.errors import (
    EnvironmentFault,
    InternalFault,
    WorkerLost,
)

logger = logging.getLogger("silkline.worker")

READ_BYTES = 16 * 1024
"""Maximum bytes of the worker's log in one read."""

LOG_END_SECONDS = 1.0
"""Maximum seconds to read the log of an ended worker, whose children may hold the pipe open."""


class WorkerProcess:
    """A running `python -m silkline.engines.worker`; its log is relayed to this process's log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Takes over a process that was spawned with pipes; use `spawn`."""
        self._process = process
        self._serves = False
        self._exited = asyncio.create_task(process.wait())
        self._log = asyncio.create_task(self._forward_log())

    @classmethod
    async def spawn(cls, engine: str, options: EngineOptions, socket: Path) -> Self:
        """Starts the process; returns before it is ready.

        Raises:
            EnvironmentFault: The system cannot start another process.
        """
        command = [sys.executable, "-P", "-m", "silkline.engines.worker", "--engine", engine]
        command += ["--socket", str(socket), "--parent", str(os.getpid())]
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise EnvironmentFault(
                f"The worker process cannot be started: {error.strerror}."
            ) from error
        worker = cls(process)
        stdin = _require(process.stdin)
        stdin.write(wire.encode_options(options) + b"\n")
        stdin.close()  # flushes first; with no await here, no cancellation can leak the process
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory in bytes; None if the process has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return None

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        return ending_in_words(self._process.returncode)

    async def started(self, timeout_seconds: float) -> None:
        """Waits until the worker is ready.

        Raises:
            EnvironmentFault: The worker lacks something on this machine.
            ConfigError: The engine or one of its options is wrong.
            WorkerLost: The worker ended without a valid report, or took too long.
            InternalFault: The engine failed with another of Silkline's errors.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                report = await self._report()
        except TimeoutError:
            raise WorkerLost(
                f"The worker was not ready within {timeout_seconds:g} seconds of its start."
            ) from None
        if report is None:
            raise WorkerLost(
                f"The worker {self.ending} before it was ready; see its lines in the log."
            )
        if report.kind != "ready":
            raise START_ERRORS[report.kind](report.message)
        self._serves = True

    async def _report(self) -> wire.StartReport | None:
        """The worker's report on its start; None if it ended without one."""
        try:
            line = await _require(self._process.stdout).readline()
            if line:
                return msgspec.json.decode(line, type=wire.StartReport)
        except (ValueError, msgspec.DecodeError) as error:  # too long, not UTF-8, or invalid
            raise WorkerLost("The worker sent an invalid start report.") from error
        await self._process.wait()
        return None

    async def ended_within(self, seconds: float) -> bool:
        """Waits at most `seconds` for the process to end; returns whether it has."""
        # All waits share one task: asyncio's `Process.wait` keeps a future for each cancelled one.
        await asyncio.wait({self._exited}, timeout=seconds)
        return self.ended

    async def end(self, grace_seconds: float) -> None:
        """Ends the process: SIGTERM, after `grace_seconds` SIGKILL. Reads the rest of its log."""
        if not self.ended and grace_seconds > 0:
            self._signal(signal.SIGTERM)
            await self.ended_within(grace_seconds)
        if not self.ended:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await asyncio.wait({self._log}, timeout=LOG_END_SECONDS)
        self._log.cancel()
        await asyncio.wait({self._log})
        if not self._log.cancelled() and (error := self._log.exception()) is not None:
            logger.error("the log of worker %d was lost", self.pid, exc_info=error)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            self._process.send_signal(number)

    async def _forward_log(self) -> None:
        stderr = _require(self._process.stderr)
        rest = b""
        while chunk := await stderr.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._forward(line)
        if rest:
            self._forward(rest)

    def _forward(self, line: bytes) -> None:
        """Relays a line; libraries' lines before the worker is ready are warnings."""
        level = logging.INFO if self._serves else logging.WARNING
        relay(line, self.pid, foreign=logger, foreign_level=level)


def ending_in_words(code: int | None) -> str:
    """How a process ended, by its return code; None is that of one that runs."""
    if code is None:
        return "is still running"
    if code < 0:
        return f"was killed by {_signal_name(-code)}"
    return f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    """The name of a signal; real-time signals have none, so they get their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_Pipe = TypeVar("_Pipe")


def _require(pipe: _Pipe | None) -> _Pipe:
    """The pipe; raises `InternalFault` if the process was spawned without it."""
    if pipe is None:
        raise InternalFault("The worker was spawned without pipes.")
    return pipe
