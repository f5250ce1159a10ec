"""Reads a remote server's API key."""

from __future__ import annotations

from collections.abc import Mapping

from silkline.config import RemoteSettings
from silkline.config.secrets import read_secret


def read_key(settings: RemoteSettings, environment: Mapping[str, str]) -> str | None:
    """Reads the key from the variable or file in the settings; None if they name neither.

    Raises:
        ConfigError: The variable is not set, the file cannot be read, or it holds no valid key.
    """
    user = f"the remote server {settings.url}"
    return read_secret(settings.key_env, settings.key_file, environment, user=user)
