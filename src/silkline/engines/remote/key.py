"""Reads a remote server's API key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from silkline.config import RemoteSettings
from silkline.errors import ConfigError


def read_key(settings: RemoteSettings, environment: Mapping[str, str]) -> str | None:
    """Reads the key from the variable or file in the settings; None if they name neither.

    Raises:
        ConfigError: The variable is not set, the file cannot be read, or it holds no valid key.
    """
    if settings.key_env:
        source, text = f"variable {settings.key_env}", environment.get(settings.key_env, "")
    elif settings.key_file:
        source, text = f"file {settings.key_file}", _content(Path(settings.key_file).expanduser())
    else:
        return None
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"The {source} holds no key for the remote server {settings.url}: expected one line of "
            "ASCII."
        )
    return key


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
