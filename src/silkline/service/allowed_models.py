"""Which models the admin API may load: those of the settings, and those that the owner allows."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from silkline.config import Settings
from silkline.errors import ConfigError
from silkline.models.home import expanded
from silkline.models.hub import parse_hub_id

_NO_PATH = (OSError, ValueError, ConfigError)
"""What a path raises that is none here: too long, with a null byte, or in an unknown home."""


def is_allowed(model: str, settings: Settings) -> bool:
    """Whether the admin API may load a model.

    A folder is allowed by the folder that it is, or lies below, once all links are followed.

    Args:
        model: The model, or the adapter, as a client names it.
        settings: The settings.
    """
    configured = {settings.engine.model, *(each.loads for each in settings.served.values())}
    if model in configured:
        return True
    patterns = settings.admin.allowed_models
    try:
        folder = expanded(model)
        if folder.exists():
            return any(_is_below(folder.resolve(), pattern) for pattern in patterns)
    except _NO_PATH:
        return False
    hub_id = parse_hub_id(model)
    return hub_id is not None and any(
        fnmatchcase(hub_id.repository, pattern) or model == pattern for pattern in patterns
    )


def _is_below(folder: Path, pattern: str) -> bool:
    try:
        return folder.is_relative_to(expanded(pattern).resolve())
    except _NO_PATH:
        return False
