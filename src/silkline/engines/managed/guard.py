"""Stands between the worker and a server, so that nothing of the server outlives the worker.

A server may have processes of its own; vLLM's go on holding their memory when the one that was
started is killed. So this process runs the server as its child, adopts whatever of it is orphaned,
and ends all of it: at once when standard input closes, which even a killed worker's does; politely
first on SIGTERM. It ends when the server does, with the server's exit code, as a shell tells it,
and removes the folder that the server had to itself.

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
"""What the server gets after SIGTERM; a worker has five to end as a whole."""

SIGNALLED = 128
"""Added to the number of the signal that ended the server, as in a shell."""

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0


def main() -> None:
    """Runs the command until it ends or has to."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _noted)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which drains first
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder, *command = sys.argv[1:]
    # This process has one thread, so code may run between fork and exec.
    server = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_the_guard,  # noqa: PLW1509
    )
    code = _watch(server, wake)
    _kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


def _watch(server: subprocess.Popen[bytes], wake: int) -> int:
    """Waits for the server's end, or for the reason to end it; gives its exit code."""
    kill_at = float("inf")
    while (code := _reap(server.pid)) is None:
        left = kill_at - time.monotonic()
        if left <= 0:
            _kill_all()
            kill_at = float("inf")
            continue
        ready, _, _ = select.select([sys.stdin, wake], [], [], min(left, 3600.0))
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            with suppress(ProcessLookupError):
                server.send_signal(signal.SIGTERM)
            kill_at = min(kill_at, time.monotonic() + GRACE_SECONDS)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096):
            return _killed(server.pid)
    return code


def _killed(server: int) -> int:
    """The worker is gone: ends everything at once."""
    _kill_all()
    return _reap(server) or SIGNALLED + signal.SIGKILL


def _reap(server: int) -> int | None:
    """Takes the ends of all children that have ended; the server's exit code, once it has."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == server:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else SIGNALLED - code
    return SIGNALLED + signal.SIGKILL  # taken before, while everything was killed


def _kill_all() -> None:
    """Kills what the server has left, whichever of its processes started it."""
    limit = time.monotonic() + _KILL_SECONDS
    while (left := _descendants()) and time.monotonic() < limit:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)


def _descendants() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _die_with_the_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _noted(number: int, frame: FrameType | None) -> None:
    """The wake-up pipe has the signal's number."""


if __name__ == "__main__":
    main()
