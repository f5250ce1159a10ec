"""Starts the real server for tests: `silkline up` on a free port, ended by its own SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Served:
    """A running server.

    Attributes:
        url: Its address, without a slash at the end.
        process: The gateway's process; the worker and the decoders are its children.
        log: What it wrote to standard error so far.
    """

    url: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def worker(self) -> psutil.Process:
        """The engine's process."""
        return next(
            child
            for child in psutil.Process(self.process.pid).children()
            if "silkline.engines.worker" in child.cmdline()
        )

    def events(self, message: str) -> list[dict[str, object]]:
        """The log's events with a message."""
        events = [json.loads(line) for line in self.log if line.startswith("{")]
        return [event for event in events if event["message"] == message]


SILKLINE = ("-m", "silkline")


def command(*arguments: str, program: tuple[str, ...] = SILKLINE) -> list[str]:
    return [sys.executable, *program, *arguments]


@contextmanager
def served(
    *arguments: str, folder: Path | None = None, program: tuple[str, ...] = SILKLINE
) -> Iterator[Served]:
    """Runs `silkline up` with the arguments until the block ends; it must end cleanly then.

    Args:
        arguments: The flags.
        folder: Its working folder.
        program: What Python runs: `silkline`, or a script that runs it with a fault inside.
    """
    environment = {name: text for name, text in os.environ.items() if "SILKLINE" not in name}
    process = subprocess.Popen(
        command("up", "--port", "0", "--json", *arguments, program=program),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )
    log: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, log), daemon=True)
    reader.start()
    try:
        ready = process.stdout.readline() if process.stdout else ""
        if not ready:
            process.wait(timeout=10)
            raise AssertionError("the server did not start:\n" + "".join(log))
        yield Served(json.loads(ready)["url"], process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            reader.join(timeout=5)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _collect(process: subprocess.Popen[str], log: list[str]) -> None:
    for line in process.stderr or ():
        log.append(line)  # noqa: PERF402 - line by line, as they come
