"""Expands `~` in paths, such as `~/models`."""

from __future__ import annotations

from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.printable import printable


def expanded(text: str) -> Path:
    """Expands the home directory in a path.

    Raises:
        ConfigError: The home is unknown: there is no such user, or the process's own user has no
            home, as in a container that runs under a bare user id.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"The home in {printable(text)} is not known. Expected a user of this machine; write "
            "the full path, or set HOME."
        ) from error
