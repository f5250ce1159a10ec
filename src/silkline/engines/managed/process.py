"""A server's process, from its start to its end, and what it logs."""

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
"""Of the log, for the server's last words."""

_READ_BYTES = 16 * 1024
_MAX_LINE_BYTES = 64 * 1024
_MAX_CHARACTERS = 2000
_LAST_WORDS_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_GUARD_SECONDS = 2.0
_LINE_END = re.compile(rb"[\r\n]+")
_TROUBLE = re.compile(r"\b(WARN(ING)?|ERROR|CRITICAL|Traceback|\w+Error|fatal)\b|^[\d.]+ [WE] ")


class ServerProcess:
    """A server under its guard (see `guard`); its log goes on as this process's own.

    Attributes:
        lines: What it logged last.
        serving: Whether it serves: from then on, only trouble is logged on.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, secret: str, logger: logging.Logger
    ) -> None:
        """Takes a guard that was spawned with pipes; use `spawn`."""
        self._process = process
        self._secret = secret
        self._logger = logger
        self._log = asyncio.create_task(self._read_log())
        self._waiting = asyncio.create_task(self._gone())
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
        """Starts a server; it does not serve yet.

        Args:
            command: Its words.
            folder: What it has to itself; goes with it, whatever becomes of this process.
            environment: Its variables.
            secret: Never to be logged.
            logger: Where its log goes on.

        Raises:
            EnvironmentFault: The system refuses another process.
        """
        guard = [sys.executable, "-P", "-m", "silkline.engines.managed.guard", str(folder)]
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *guard, *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT,
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise EnvironmentFault(f"The server cannot be started: {error.strerror}.") from error
        return cls(process, secret, logger)

    @property
    def ended(self) -> bool:
        """Whether the server is gone."""
        return self._waiting.done()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "still runs"
        number = code - SIGNALLED if code > SIGNALLED else -code
        if number in {each.value for each in signal.Signals}:
            return f"was ended by {signal.Signals(number).name}"
        return f"ended with exit code {code}"

    async def wait(self) -> None:
        """Returns when the server is gone, and what it logged has been read."""
        await asyncio.wait({self._waiting})
        await asyncio.wait({self._log}, timeout=_LAST_WORDS_SECONDS)

    async def ended_within(self, seconds: float) -> bool:
        """Waits for the end, but not longer than `seconds`; tells whether it has come."""
        await asyncio.wait({self._waiting}, timeout=seconds)
        return self.ended

    async def end(self) -> None:
        """Ends the server and all that it started: politely, then at once."""
        self._ending = True
        if not self.ended:
            self._signal(signal.SIGTERM)
            if not await self.ended_within(GRACE_SECONDS + _GUARD_SECONDS):
                self._close_input()  # as if this process had ended
                await self.ended_within(_GUARD_SECONDS)
        if not self.ended or (self._process.returncode or 0) < 0:
            # The guard did not do its work; its group is what is left to be seen of the server.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.wait()
        self._log.cancel()
        await asyncio.wait({self._log})
        self._close_input()

    def _signal(self, sent: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            self._process.send_signal(sent)

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _gone(self) -> None:
        """Returns when the guard is gone, even if something of the server holds its pipes open.

        asyncio's `wait` alone waits for these, too; and it remembers each wait that is given up.
        """
        closed = asyncio.create_task(self._process.wait())
        while self._process.returncode is None:
            await asyncio.wait({closed}, timeout=_LOOK_SECONDS)
        closed.cancel()

    async def _read_log(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            raise InternalFault("The server was spawned without its pipes.")
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
        """Logs a line; while the model loads, all of them, since that is all there is to see."""
        text = line.decode("utf-8", "replace").replace(self._secret, "***").rstrip()
        text = text[:_MAX_CHARACTERS]
        if not text.strip():
            return
        self.lines.append(text)
        if self._ending:
            return  # what it says of being ended is no news
        trouble = _TROUBLE.search(text)
        if trouble or not self.serving:
            level = logging.WARNING if trouble and self.serving else logging.INFO
            self._logger.log(level, "%s", text)
