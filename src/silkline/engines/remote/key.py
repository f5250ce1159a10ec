"""Where a remote server's API key comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from silkline.config import RemoteSettings
from silkline.errors import ConfigError


def read_key(settings: RemoteSettings, environment: Mapping[str, str]) -> str | None:
    """The key that the settings point at; None where they point at none.

    Raises:
        ConfigError: The variable is not set, the file cannot be read, or what it holds is no key.
    """
    if settings.key_env:
        where, text = f"variable {settings.key_env}", environment.get(settings.key_env, "")
    elif settings.key_file:
        where, text = f"file {settings.key_file}", _content(Path(settings.key_file).expanduser())
    else:
        return None
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"The {where} holds no key for the remote server {settings.url}: expected one line of "
            "ASCII."
        )
    return key


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
