"""A gateway process, as its owner sees it: starts it, talks with it, relays its log, ends it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from silkline.engines.worker.process import LOG_END_SECONDS, ending_in_words
from silkline.engines.worker.start_errors import START_ERRORS
from silkline.errors import EnvironmentFault
from silkline.gateway.processes.channel import (
    Channel,
    Figures,
    Lost,
    Merged,
    Read,
    ReadAll,
    Ready,
    Refused,
    Start,
    ToGateway,
    ToOwner,
    Workers,
    owners_end,
)
from silkline.observe.families import Family

HANG_SECONDS = 30.0
"""A gateway process that sends nothing for this long, although its metrics are read, hangs."""

START_SECONDS = 120.0
"""The same, before its first message."""

_READ_BYTES = 64 * 1024

OnMessage = Callable[["GatewayProcess", Lost | ReadAll], None]


class GatewayProcess:
    """A running `python -m silkline.gateway.processes`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        channel: Channel[ToGateway, ToOwner],
        log: threading.Thread,
        on_message: OnMessage,
    ) -> None:
        """Takes over a process that was spawned; use `spawn`."""
        self._process = process
        self._log = log
        self._channel = channel
        self._on_message = on_message
        self._numbers = itertools.count()
        self._reads: dict[int, asyncio.Future[None]] = {}
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read_messages(), name="gateway process")
        self._exited = asyncio.create_task(process.wait())
        self._message_due = time.monotonic() + START_SECONDS
        self.families: list[Family] = []
        """Its metrics, as it last sent them."""

    @classmethod
    async def spawn(cls, start: Start, memory: int, on_message: OnMessage) -> Self:
        """Starts the process; returns before it is ready.

        Args:
            start: What it needs to start.
            memory: The descriptor of the shared memory.
            on_message: Called with the messages that the owner must handle.

        Raises:
            EnvironmentFault: The system cannot start another process.
        """
        ours, theirs = socket.socketpair()
        log, its_log = os.pipe()
        command = [sys.executable, "-P", "-m", "silkline.gateway.processes"]
        command += ["--channel", str(theirs.fileno()), "--memory", str(memory)]
        command += ["--parent", str(os.getpid())]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=its_log,
                stderr=its_log,
                start_new_session=True,
                pass_fds=(theirs.fileno(), memory),
            )
        except OSError as error:
            ours.close()
            os.close(log)
            raise EnvironmentFault(
                f"A gateway process cannot be started: {error.strerror}."
            ) from error
        finally:
            theirs.close()
            os.close(its_log)
        relay = threading.Thread(target=_relay_log, args=(log,), daemon=True)
        relay.start()
        gateway = cls(process, await owners_end(ours), relay, on_message)
        gateway._channel.send(start)
        return gateway

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it accepts connections, and its engines serve."""
        return self._ready.done() and not self._ready.cancelled() and not self._exited.done()

    @property
    def hangs(self) -> bool:
        """Whether it has stopped responding."""
        return time.monotonic() > self._message_due and not self._exited.done()

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        return ending_in_words(self._process.returncode)

    async def ready(self) -> Ready | None:
        """Waits until the process is ready; None if it ended before that.

        Raises:
            SilklineError: It reported why it cannot start.
        """
        either: set[asyncio.Future[Any]] = {self._ready, self._reading}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._ready.result() if self._ready.done() else None

    async def ended(self) -> None:
        """Waits until the process has ended."""
        await asyncio.wait({self._exited})

    async def read(self, timeout_seconds: float) -> None:
        """Reads its metrics into `families`; keeps the old ones if it does not answer in time."""
        number = next(self._numbers)
        answer = self._reads[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Read(number))
        await asyncio.wait({answer}, timeout=timeout_seconds)
        del self._reads[number]

    def send(self, message: Workers | Merged) -> None:
        """Sends a message; it is lost if the process has ended."""
        self._channel.send(message)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, grace_seconds: float) -> None:
        """Ends the process: SIGTERM, after `grace_seconds` SIGKILL. Idempotent."""
        if not self._exited.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait({self._exited}, timeout=grace_seconds)
        if not self._exited.done():
            self.signal(signal.SIGKILL)
            await self.ended()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._channel.close()
        await asyncio.to_thread(self._log.join, LOG_END_SECONDS)

    async def _read_messages(self) -> None:
        async for message in self._channel.received():
            self._message_due = time.monotonic() + HANG_SECONDS
            match message:
                case Ready():
                    self._ready.set_result(message)
                case Refused(kind, text):
                    self._ready.set_exception(START_ERRORS[kind](text))
                    self._ready.exception()  # is raised by `ready`, if anything waits for it
                case Figures(number, families):
                    self.families = families
                    if number in self._reads:
                        self._reads[number].set_result(None)
                case _:
                    self._on_message(self, message)


def _relay_log(log: int) -> None:
    """Copies the log of a gateway process to this process's, only whole lines at a time.

    Other lines come from other processes and from this one, so each write has the log's lock.
    """
    handler = logging.getLogger().handlers[0]
    rest = b""
    with open(log, "rb", buffering=0) as lines:
        while chunk := lines.read(_READ_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            _write(handler, whole + newline)
        if rest:
            _write(handler, rest + b"\n")


def _write(handler: logging.Handler, lines: bytes) -> None:
    handler.acquire()
    try:
        view = memoryview(lines)
        while view:
            view = view[os.write(sys.stderr.fileno(), view) :]
    except OSError:  # as the log's own handler does, goes on without it
        pass
    finally:
        handler.release()
