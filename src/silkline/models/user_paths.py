"""Converts system errors about paths that a user named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from silkline.errors import EnvironmentFault
from silkline.models.printable import printable


@contextmanager
def looking_for(kind: str, text: str) -> Iterator[None]:
    """Converts the block's `OSError` to an `EnvironmentFault`.

    Args:
        kind: What the block looks for, such as "model".
        text: The user's name for it.

    Raises:
        EnvironmentFault: The block raised `OSError`, for example because the folder belongs to
            another user or the name is too long.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"The {kind} {printable(text)} cannot be accessed: {error.strerror}. Check that its "
            "folder is readable, or name another one."
        ) from error


def nearest_folder(path: Path) -> Path:
    """The path itself if it exists, else its nearest parent that does."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
