"""Divides a folder of spools between processes, which may die at any time.

Each process takes the first numbered folder that no living process has. So the folder of one that
died is taken by the process that replaces it, or else shipped by any other.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_LOCK = "lock"


class Claim:
    """The right to use a folder, until it is released or the process dies."""

    def __init__(self, folder: Path, lock: int) -> None:
        """Takes the locked file; use `claim` or `abandoned`."""
        self.folder = folder
        self._lock = lock

    def release(self) -> None:
        """Gives the right back; idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def claim(root: Path) -> Claim:
    """Claims the first folder below `root` that is free; creates one if there is none.

    Raises:
        OSError: It cannot be created.
    """
    for number in count():
        found = _try(root / str(number))
        if found is not None:
            return found
    raise AssertionError("unreachable")


def abandoned(root: Path) -> Iterator[Claim]:
    """Claims, one after the other, the folders below `root` whose processes have died.

    Each claim ends when the next one is asked for.
    """
    for folder in sorted(root.iterdir()):
        try:
            found = _try(folder) if folder.is_dir() else None
        except OSError:
            continue
        if found is not None:
            try:
                yield found
            finally:
                found.release()


def _try(folder: Path) -> Claim | None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return Claim(folder, lock)
