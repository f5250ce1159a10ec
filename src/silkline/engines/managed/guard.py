"""A guard process between a worker and a server: no process of the server outlives the worker.

A server may start processes of its own; vLLM's keep their memory when their parent is killed. So
the guard runs the server as its child, adopts the server's orphans (as a subreaper), and ends them
all: with SIGKILL when its standard input closes, which also happens when the worker is killed; with
SIGTERM first when it gets SIGTERM. It exits when the server does, with the server's exit code in a
shell's convention, and removes the server's private folder.

    python -m silkline.engines.managed.guard FOLDER COMMAND ...
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

import psutil

GRACE_SECONDS = 2.0
"""Seconds from SIGTERM to SIGKILL for the server; the whole worker has five."""

SIGNALLED = 128
"""Added to the number of the signal that killed the server, as in a shell."""

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0


def main() -> None:
    """Runs the command until it ends by itself or is ended; exits with its code."""
    wake, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _ignore)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which drains first
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder, *command = sys.argv[1:]
    # This process has one thread, so code may run between fork and exec.
    server = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_guard,  # noqa: PLW1509
    )
    code = _wait_for_end(server, wake)
    _kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


def _wait_for_end(server: subprocess.Popen[bytes], wake: int) -> int:
    """Waits until the server ends, or ends it on request; returns its exit code."""
    kill_at = float("inf")
    while (code := _reap(server.pid)) is None:
        remaining = kill_at - time.monotonic()
        if remaining <= 0:
            _kill_all()
            kill_at = float("inf")
            continue
        ready, _, _ = select.select([sys.stdin, wake], [], [], min(remaining, 3600.0))
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            with suppress(ProcessLookupError):
                server.send_signal(signal.SIGTERM)
            kill_at = min(kill_at, time.monotonic() + GRACE_SECONDS)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096):
            return _kill_server(server.pid)
    return code


def _kill_server(server: int) -> int:
    """Kills all processes, because the worker has ended; returns the server's exit code."""
    _kill_all()
    return _reap(server) or SIGNALLED + signal.SIGKILL


def _reap(server: int) -> int | None:
    """Reaps all children that have ended; returns the server's exit code, None while it runs."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == server:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else SIGNALLED - code
    return SIGNALLED + signal.SIGKILL  # reaped before, while everything was killed


def _kill_all() -> None:
    """Kills all descendants: the server, its children, and the orphans among them."""
    limit = time.monotonic() + _KILL_SECONDS
    while (processes := _descendants()) and time.monotonic() < limit:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=0.5)


def _descendants() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _die_with_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _ignore(number: int, frame: FrameType | None) -> None:
    """Does nothing: the wake-up pipe already has the signal's number."""


if __name__ == "__main__":
    main()
