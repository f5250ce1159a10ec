"""Looking for what a user names on this machine, where the system may refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from silkline.errors import EnvironmentFault
from silkline.models.printable import printable


@contextmanager
def looking_for(kind: str, text: str) -> Iterator[None]:
    """Tells in words what the system refuses while the block looks for something.

    Args:
        kind: What it is, such as "model".
        text: What the user calls it.

    Raises:
        EnvironmentFault: The block's `OSError`, such as for a folder of somebody else's, or a name
            that is too long.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"The {kind} {printable(text)} cannot be looked for: {error.strerror}. Name another, "
            "or see that its folder can be read."
        ) from error


def nearest_folder(path: Path) -> Path:
    """The path itself where it is there, else the nearest of the folders around it that is."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
