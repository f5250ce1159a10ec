"""Reads the settings that belong to one engine alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from silkline.errors import ConfigError

Extra = TypeVar("Extra", bound=msgspec.Struct)


def read_extra(extra: Mapping[str, str], kind: type[Extra], engine: str) -> Extra:
    """Converts `EngineOptions.extra` to the options structure of an engine.

    Args:
        extra: The settings, as text.
        kind: The engine's options structure.
        engine: The engine's name, for error messages.

    Raises:
        ConfigError: A name is unknown, or a value is invalid.
    """
    try:
        return msgspec.convert(dict(extra), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(
            f"The {engine} engine's options are wrong: {error}. Valid options: {known}."
        ) from error
