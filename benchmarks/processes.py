"""The processes that a benchmark starts: begun, watched, and ended with all of their children."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec
import psutil

from benchmarks.closed_loop import READY, Cell, Measured

_END_SECONDS = 15.0
_START_SECONDS = 120.0
_POLL_SECONDS = 0.02


class BenchmarkError(Exception):
    """A process did not do what the benchmark needs; the message says where to look."""


_STORE_DISTANCE = 10_000


def leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM: unwinds, so that every process that was started is ended."""
    del frame
    sys.exit(128 + number)


@contextmanager
def started(
    command: Sequence[str | Path],
    log: Path,
    variables: Mapping[str, str] | None = None,
    *,
    output: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command until the block is left, with pipes to it and its errors in `log`.

    Settings of Silkline in the environment are left out, so that the defaults are measured.

    Args:
        command: The command.
        log: The file for its standard error.
        variables: Environment variables to add.
        output: Its standard output; one that nothing reads must not be a pipe, which fills up.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SILKLINE_")
    }
    environment |= variables or {}
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process: asked first, then killed, and its children with it."""
    family = _family(process.pid)
    if process.poll() is None:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=_END_SECONDS)
    for member in alive:
        member.kill()


def next_line(process: subprocess.Popen[bytes], log: Path) -> str:
    """The next line that a process says.

    Raises:
        BenchmarkError: It ended instead.
    """
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise BenchmarkError(f"{process.args!r} ended; see {log}")
    return line.decode().strip()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def store_ports(count: int) -> list[int]:
    """Ports for SeaweedFS, which takes each port again `_STORE_DISTANCE` higher.

    They lie below those that the system gives to clients, as nobody may take them meanwhile.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(12_000, 22_000)
        if port not in ports and _free(port) and _free(port + _STORE_DISTANCE):
            ports.append(port)
    return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until a process listens.

    Raises:
        BenchmarkError: It ended, or it took more than two minutes.
    """
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_SECONDS)
    raise BenchmarkError(f"{process.args!r} does not listen; see {log}")


def cpu_seconds(pid: int) -> dict[str, float]:
    """Processor seconds that a process and its children have taken so far, by what they are."""
    seconds: dict[str, float] = {}
    for member in _family(pid):
        try:
            times, name = member.cpu_times(), _name(member)
        except psutil.NoSuchProcess:
            continue
        seconds[name] = seconds.get(name, 0.0) + times.user + times.system
    return seconds


def resident_bytes(pid: int) -> tuple[int, int]:
    """Resident memory of a process and its children: pages of each, and shared ones split.

    The first number is the sum of RSS, which counts a page that two share twice; the second the sum
    of PSS, which counts it once.
    """
    rss = pss = 0
    for member in _family(pid):
        try:
            memory = member.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        rss += memory.rss
        pss += memory.pss
    return rss, pss


class Driver:
    """A process that runs the cells it is given, see `closed_loop`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Waits until it takes cells. Raises `BenchmarkError` when it does not start."""
        self._process = process
        self._log = log
        line = next_line(process, log)
        if line != READY:
            raise BenchmarkError(f"{process.args!r} said {line!r} instead of {READY!r}; see {log}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run(self, cell: Cell) -> Measured:
        """Runs one cell. Raises `BenchmarkError` when the process fails on it."""
        pipe = self._process.stdin
        if pipe is None:
            raise BenchmarkError("the process has no input")
        pipe.write(msgspec.json.encode(cell) + b"\n")
        pipe.flush()
        return msgspec.json.decode(next_line(self._process, self._log), type=Measured)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _name(process: psutil.Process) -> str:
    """What a process of ours is, told from the module on its command line."""
    words = " ".join(process.cmdline())
    for part, name in _PARTS:
        if part in words:
            return name
    return process.name()


_PARTS = (
    ("benchmarks.engine_alone", "engine"),
    ("decoder_child", "decoder"),
    ("engines.worker", "worker"),
    ("naive/server.py", "naive"),
    ("benchmarks.metrics_cost", "gateway"),
    ("silkline", "gateway"),
)
