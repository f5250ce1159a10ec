"""Locks on files, which the system releases when their holder dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock on a file, which is created if it is missing and never removed.

    Args:
        path: The file, on a local disk.
        waiting: Called repeatedly while another process holds the lock.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("ab") as file:
        while not try_lock(file):
            waiting()
            time.sleep(_POLL_SECONDS)
        yield


def try_lock(lock: IO[bytes]) -> bool:
    """Takes a lock until the file is closed; False if another process holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
