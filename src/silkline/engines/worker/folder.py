"""Where a worker's sockets lie: a folder for its user only, locked while its owner lives.

Who is killed removes nothing. So whoever makes the next folder removes those that nobody holds a
lock on: the kernel lets go of a lock when the process that holds it ends, however it ends.
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
"""What the names begin with; other rooms' folders begin with `silkline-`, and have no lock."""

MAX_NAME_BYTES = 12
"""Of a socket in it."""

_MAX_PATH_BYTES = 107  # unix(7): `sun_path`, without its end
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class SocketFolder:
    """A folder that is there until `remove`, or until its process has ended.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, held: int) -> None:
        """Takes a folder and the descriptor that holds its lock; use `make`."""
        self.path = path
        self._held = held

    @classmethod
    def make(cls) -> Self:
        """Makes a folder (0700), and removes those of this user whose owners are gone.

        Raises:
            EnvironmentFault: There is no room for it, or its name would be too long for sockets.
        """
        try:
            for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
                with suppress(OSError):  # somebody lives in it, or it is not what it seems
                    _remove_orphan(other)
            while True:
                path = Path(tempfile.mkdtemp(prefix=PREFIX))
                if (held := _hold(path)) is not None:
                    break
        except OSError as error:
            raise EnvironmentFault(
                "The worker's socket needs a folder, and none can be made among the temporary "
                f"files: {error.strerror}. Make room there, or set TMPDIR to another place."
            ) from error
        folder = cls(path, held)
        if (size := len(os.fsencode(path)) + 1 + MAX_NAME_BYTES) > _MAX_PATH_BYTES:
            folder.remove()
            raise EnvironmentFault(
                f"The name of the worker's socket would have {size} bytes, of which the system "
                f"takes {_MAX_PATH_BYTES}. Set TMPDIR to a place with a shorter name."
            )
        return folder

    def remove(self) -> None:
        """Removes it with all that is in it; call it once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def _hold(path: Path) -> int | None:
    """Locks a new folder; None if somebody took it for one whose owner is gone, and removes it."""
    try:
        held = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return held
    except BlockingIOError:
        pass
    except OSError:  # no locks here: then nobody can lock it to remove it, either
        return held
    os.close(held)
    return None


def _remove_orphan(path: Path) -> None:
    """Removes a folder of this user that nobody holds; raises `OSError` where it must stay."""
    folder = os.open(path, _OPEN)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with os.scandir(folder) as entries:
            for entry in entries:
                if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    os.unlink(entry.name, dir_fd=folder)
        path.rmdir()  # refused where anything else is in it
    finally:
        os.close(folder)
