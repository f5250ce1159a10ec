"""Runs a server's process and relays its log."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from silkline.engines.managed.guard import GRACE_SECONDS, SIGNALLED
from silkline.errors import EnvironmentFault, InternalFault

KEPT_LINES = 400
"""Log lines that are kept, for the message of an error."""

_READ_BYTES = 16 * 1024
_MAX_LINE_BYTES = 64 * 1024
_MAX_CHARACTERS = 2000
_LOG_END_SECONDS = 1.0
_POLL_SECONDS = 0.1
_GUARD_SECONDS = 2.0
_LINE_END = re.compile(rb"[\r\n]+")
_PROBLEM = re.compile(r"\b(WARN(ING)?|ERROR|CRITICAL|Traceback|\w+Error|fatal)\b|^[\d.]+ [WE] ")


class ServerProcess:
    """A server that runs under a guard process (see `guard`); relays its log to a logger.

    Attributes:
        lines: The last `KEPT_LINES` lines of its log.
        serving: Whether the server is ready. From then on, only warnings and errors are relayed.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, secret: str, logger: logging.Logger
    ) -> None:
        """Takes over a guard process that was spawned with pipes; use `spawn`."""
        self._process = process
        self._secret = secret
        self._logger = logger
        self._log = asyncio.create_task(self._read_log())
        self._exited = asyncio.create_task(self._wait_for_exit())
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.serving = False
        self._ending = False

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        secret: str,
        logger: logging.Logger,
    ) -> Self:
        """Starts a server; returns before it is ready.

        Args:
            command: The words of its command.
            folder: Its private folder; removed when it ends, even if this process was killed.
            environment: Its environment variables.
            secret: Text that is masked in its log.
            logger: Receives its log.

        Raises:
            EnvironmentFault: The system cannot start another process.
        """
        guard = [sys.executable, "-P", "-m", "silkline.engines.managed.guard", str(folder)]
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *guard, *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT,
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise EnvironmentFault(
                f"The server's process cannot be started: {error.strerror}."
            ) from error
        return cls(process, secret, logger)

    @property
    def ended(self) -> bool:
        """Whether the server has ended."""
        return self._exited.done()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "is still running"
        number = code - SIGNALLED if code > SIGNALLED else -code
        if number in {known.value for known in signal.Signals}:
            return f"was killed by {signal.Signals(number).name}"
        return f"ended with exit code {code}"

    async def wait(self) -> None:
        """Waits until the server has ended and its log has been read."""
        await asyncio.wait({self._exited})
        await asyncio.wait({self._log}, timeout=_LOG_END_SECONDS)

    async def ended_within(self, seconds: float) -> bool:
        """Waits at most `seconds` for the server to end; returns whether it has."""
        await asyncio.wait({self._exited}, timeout=seconds)
        return self.ended

    async def end(self) -> None:
        """Ends the server and all processes that it started: SIGTERM first, then SIGKILL."""
        self._ending = True
        if not self.ended:
            self._signal(signal.SIGTERM)
            if not await self.ended_within(GRACE_SECONDS + _GUARD_SECONDS):
                self._close_input()  # as if this process had ended
                await self.ended_within(_GUARD_SECONDS)
        if not self.ended or (self._process.returncode or 0) < 0:
            # The guard was killed or hangs. Its process group is all that can still be reached.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.wait()
        self._log.cancel()
        await asyncio.wait({self._log})
        self._close_input()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            self._process.send_signal(number)

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _wait_for_exit(self) -> None:
        """Waits until the guard has ended, even if a child of the server holds its pipes open.

        `Process.wait` of asyncio also waits for the pipes, and keeps a future for each cancelled
        wait.
        """
        closed = asyncio.create_task(self._process.wait())
        while self._process.returncode is None:
            await asyncio.wait({closed}, timeout=_POLL_SECONDS)
        closed.cancel()

    async def _read_log(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            raise InternalFault("The server was spawned without pipes.")
        rest = b""
        while chunk := await stdout.read(_READ_BYTES):
            *lines, rest = _LINE_END.split(rest + chunk)
            if len(rest) > _MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._relay(line)
        self._relay(rest)

    def _relay(self, line: bytes) -> None:
        """Logs a line: every line while the model loads, then only warnings and errors."""
        text = line.decode("utf-8", "replace").replace(self._secret, "***").rstrip()
        text = text[:_MAX_CHARACTERS]
        if not text.strip():
            return
        self.lines.append(text)
        if self._ending:
            return  # errors during a shutdown are expected
        problem = _PROBLEM.search(text)
        if problem or not self.serving:
            level = logging.WARNING if problem and self.serving else logging.INFO
            self._logger.log(level, "%s", text)
