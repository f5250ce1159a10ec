"""Paths that may begin with a user's home, such as `~/models`."""

from __future__ import annotations

from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.printable import printable


def expanded(text: str) -> Path:
    """A path with the home written out.

    Raises:
        ConfigError: The path begins with a home that is not known: there is no such user, or, as in
            a container that runs as a bare number, the process's own has none.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"The home in {printable(text)} is not known. Expected a user of this machine; write "
            "the path out, or set HOME."
        ) from error
