"""Files that are replaced whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replaces a file by content that is in memory; see `replace_whole`."""
    replace_whole(path, (content,), mode=mode)


def replace_whole(path: Path, chunks: Iterable[bytes], *, mode: int = 0o600) -> int:
    """Replaces a file, which may be missing: readers see the old content or the new one.

    It is on the disk when this returns, also after a crash of the machine.

    Args:
        path: The file.
        chunks: Its new content, which need not be in memory at once.
        mode: The file's permissions.

    Returns:
        The bytes of its content.

    Raises:
        OSError: It cannot be written; the old content stays.
    """
    size = 0
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                size += file.write(chunk)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size
