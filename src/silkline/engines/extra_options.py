"""The settings that only one engine knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from silkline.errors import ConfigError

Extra = TypeVar("Extra", bound=msgspec.Struct)


def read_extra(extra: Mapping[str, str], kind: type[Extra], engine: str) -> Extra:
    """Reads `EngineOptions.extra` as the structure that an engine declares.

    Args:
        extra: The settings, as text.
        kind: What the engine knows.
        engine: The engine's name, for messages.

    Raises:
        ConfigError: A name is unknown, or a value is wrong.
    """
    try:
        return msgspec.convert(dict(extra), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(
            f"The {engine} engine's options are wrong: {error}. Known are: {known}."
        ) from error
