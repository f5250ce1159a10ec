"""A private folder for the sockets of workers and gateway processes, locked by its owner process.

A killed process does not remove its folder. So the creator of the next folder removes all folders
that are not locked: the kernel releases a lock when its process ends, even by a kill.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from silkline.errors import EnvironmentFault

PREFIX = "silkline."
"""Prefix of the folders' names; Silkline's other folders have `silkline-` and no lock."""

SHARED = "shared-"
"""Prefix of the files in a folder that gateway processes share."""

MAX_NAME_BYTES = 12
"""Maximum length of a socket's name in the folder."""

_MAX_PATH_BYTES = 107  # unix(7): `sun_path` without its NUL
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class SocketFolder:
    """A locked temporary folder.

    Attributes:
        path: The folder's path.
    """

    def __init__(self, path: Path, lock: int) -> None:
        """Takes a folder and the file descriptor that holds its lock; use `make`."""
        self.path = path
        self._lock = lock

    @classmethod
    def make(cls) -> Self:
        """Creates a folder (0700), and removes this user's folders whose owners have ended.

        Raises:
            EnvironmentFault: It cannot be created, or its path is too long for sockets.
        """
        try:
            for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
                with suppress(OSError):  # it is locked, or not one of these folders
                    _remove_orphan(other)
            while True:
                path = Path(tempfile.mkdtemp(prefix=PREFIX))
                if (lock := _acquire_lock(path)) is not None:
                    break
        except OSError as error:
            raise EnvironmentFault(
                "No folder for the worker's socket can be created in the temporary directory: "
                f"{error.strerror}. Make room there, or set TMPDIR to another directory."
            ) from error
        folder = cls(path, lock)
        if (size := len(os.fsencode(path)) + 1 + MAX_NAME_BYTES) > _MAX_PATH_BYTES:
            folder.remove()
            raise EnvironmentFault(
                f"The path of the worker's socket would have {size} bytes; the system allows "
                f"{_MAX_PATH_BYTES}. Set TMPDIR to a directory with a shorter path."
            )
        return folder

    def remove(self) -> None:
        """Removes the folder and its contents; call it once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _acquire_lock(path: Path) -> int | None:
    """Locks a new folder; None if another process takes it for an orphan and removes it."""
    try:
        lock = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return lock
    except BlockingIOError:
        pass
    except OSError:  # the file system has no locks, so no other process can lock and remove it
        return lock
    os.close(lock)
    return None


def _remove_orphan(path: Path) -> None:
    """Removes an unlocked folder of this user; raises `OSError` if it must stay."""
    folder = os.open(path, _OPEN)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_own(entry):
                    os.unlink(entry.name, dir_fd=folder)
        path.rmdir()  # fails if it contains anything else
    finally:
        os.close(folder)


def _is_own(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a socket, or one of the files that gateway processes share."""
    mode = entry.stat(follow_symlinks=False).st_mode
    return stat.S_ISSOCK(mode) or (stat.S_ISREG(mode) and entry.name.startswith(SHARED))
