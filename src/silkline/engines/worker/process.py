"""One worker process, from its start to its end."""

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
from silkline.errors import (
    ConfigError,
    EnvironmentFault,
    InternalFault,
    SilklineError,
    WorkerLost,
)

logger = logging.getLogger("silkline.worker")

READ_BYTES = 16 * 1024
"""How much of the worker's log is read at a time."""

LAST_WORDS_SECONDS = 1.0
"""How long the log of an ended worker is read, should one of its children hold it open."""

_ERRORS: dict[wire.StartKind, type[SilklineError]] = {
    "environment": EnvironmentFault,
    "config": ConfigError,
    "failed": InternalFault,
}


class WorkerProcess:
    """A running `python -m silkline.engines.worker`; what it logs is logged here again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Takes a process that was spawned with pipes; use `spawn`."""
        self._process = process
        self._serves = False
        self._exited = asyncio.create_task(process.wait())
        self._log = asyncio.create_task(self._forward_log())

    @classmethod
    async def spawn(cls, engine: str, options: EngineOptions, socket: Path) -> Self:
        """Starts the process; it does not serve yet.

        Raises:
            EnvironmentFault: The system refuses another process.
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
        stdin = _there(process.stdin)
        stdin.write(wire.encode_options(options) + b"\n")
        stdin.close()  # once written; nothing is awaited, so no cancellation loses the process
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory; None when the process is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return None

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        if code is None:
            return "still runs"
        if code < 0:
            return f"was ended by {_signal_name(-code)}"
        return f"ended with exit code {code}"

    async def started(self, timeout_seconds: float) -> None:
        """Waits until the worker serves.

        Raises:
            EnvironmentFault: The worker lacks something on this machine.
            ConfigError: The engine or one of its options is wrong.
            WorkerLost: It ended without a word that makes sense, or took too long.
            InternalFault: The engine failed with another error of Silkline's.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                report = await self._report()
        except TimeoutError:
            raise WorkerLost(
                f"The worker did not serve within {timeout_seconds:g} seconds of its start."
            ) from None
        if report is None:
            raise WorkerLost(
                f"The worker {self.ending} before it served; the lines that it logged say why."
            )
        if report.kind != "ready":
            raise _ERRORS[report.kind](report.message)
        self._serves = True

    async def _report(self) -> wire.StartReport | None:
        """What the worker says of its start; None when it ended instead."""
        try:
            line = await _there(self._process.stdout).readline()
            if line:
                return msgspec.json.decode(line, type=wire.StartReport)
        except (ValueError, msgspec.DecodeError) as error:  # too long, no text, or no report
            raise WorkerLost("The worker's word on its start makes no sense.") from error
        await self._process.wait()
        return None

    async def ended_within(self, seconds: float) -> bool:
        """Waits for the end, but not longer than `seconds`; tells whether it has come."""
        # One task for all waits: asyncio's `wait` remembers each that is given up.
        await asyncio.wait({self._exited}, timeout=seconds)
        return self.ended

    async def end(self, grace_seconds: float) -> None:
        """Ends the process by SIGTERM, after `grace_seconds` by SIGKILL, and reads its log out."""
        if not self.ended and grace_seconds > 0:
            self._signal(signal.SIGTERM)
            await self.ended_within(grace_seconds)
        if not self.ended:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await asyncio.wait({self._log}, timeout=LAST_WORDS_SECONDS)
        self._log.cancel()
        await asyncio.wait({self._log})
        if not self._log.cancelled() and (error := self._log.exception()) is not None:
            logger.error("the log of worker %d was lost", self.pid, exc_info=error)

    def _signal(self, sent: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            self._process.send_signal(sent)

    async def _forward_log(self) -> None:
        stderr = _there(self._process.stderr)
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
        """What libraries print before the worker serves may say why it never does."""
        level = logging.INFO if self._serves else logging.WARNING
        relay(line, self.pid, foreign=logger, foreign_level=level)


def _signal_name(number: int) -> str:
    """Real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_Pipe = TypeVar("_Pipe")


def _there(pipe: _Pipe | None) -> _Pipe:
    """A pipe that was asked for when the process was spawned."""
    if pipe is None:
        raise InternalFault("The worker was spawned without its pipes.")
    return pipe
