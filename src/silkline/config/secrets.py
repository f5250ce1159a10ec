"""Reads keys from where the settings say they are; the settings never hold a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from silkline.errors import ConfigError


def read_secret(
    variable: str, file: str, environment: Mapping[str, str], *, user: str
) -> str | None:
    """Reads a key from a variable or a file; None if neither is named.

    Args:
        variable: The environment variable's name; empty means none.
        file: The file's path; empty means none.
        environment: The environment.
        user: What needs the key, for the error.

    Raises:
        ConfigError: The variable is not set, the file cannot be read, or it holds no valid key.
    """
    if variable:
        source, text = f"variable {variable}", environment.get(variable, "")
    elif file:
        source, text = f"file {file}", _content(Path(file).expanduser())
    else:
        return None
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"The {source} holds no key for {user}: expected one line of ASCII.")
    return key


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
