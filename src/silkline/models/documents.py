"""Reads a model's JSON files (config.json and others) with size limits and typed access.

The files are untrusted: values that are too long, too deep or of the wrong type are refused with an
error that names the file and the key, and every number is checked against a range before use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.stand_in import stand_in

CONFIG = "config.json"
"""The file that marks a folder as a transformers model."""

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
"""Maximum size of a file; published ones stay below 100 KB, indexes of shards below 1 MB."""

_MAX = 10**12
"""Largest number allowed for any key; pixel budgets are the largest in practice."""

_MAX_CHARACTERS = 1000
_Side = Annotated[int, Meta(ge=1, le=10**6)]
_Decimals = Annotated[list[float], Meta(max_length=16)]
_Texts = Annotated[list[str], Meta(max_length=1000)]
_Pairs = Annotated[list[tuple[_Side, _Side]], Meta(min_length=1, max_length=1000)]


class Document:
    """A JSON object of a model's file, or a section of one.

    Attributes:
        name: Its name in messages, such as "config.json" or "config.json: text_config".
        values: Its values by key.
    """

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self.name = name
        self.values = values

    def __bool__(self) -> bool:
        return bool(self.values)

    def number(self, *keys: str, minimum: int = 1) -> int | None:
        """The whole number under the first of the keys that is present; None if none is.

        Raises:
            ConfigError: It is not a whole number from `minimum` to 10**12.
        """
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or not minimum <= value <= _MAX
            ):
                raise self._wrong(key, f"a whole number from {minimum} to {_MAX}")
            return value
        return None

    def decimal(self, key: str) -> float | None:
        """A number, or None if the key is absent.

        Raises:
            ConfigError: It is not a number.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        try:
            return float(value)
        except OverflowError as error:  # whole numbers in JSON can have any length
            raise self._wrong(key, "a number") from error

    def decimals(self, key: str) -> tuple[float, ...] | None:
        """A list of up to 16 numbers, or None if the key is absent.

        Raises:
            ConfigError: It is anything else.
        """
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return tuple(msgspec.convert(value, _Decimals))
        except msgspec.ValidationError as error:
            raise self._wrong(key, "a list of numbers") from error

    def text(self, key: str) -> str | None:
        """A string, or None if the key is absent.

        Raises:
            ConfigError: It is not a string of at most 1000 characters.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
            raise self._wrong(key, f"text of at most {_MAX_CHARACTERS} characters")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of up to 1000 strings; empty if the key is absent.

        Raises:
            ConfigError: It is anything else.
        """
        value = self.values.get(key)
        if value is None:
            return ()
        try:
            return tuple(msgspec.convert(value, _Texts))
        except msgspec.ValidationError as error:
            raise self._wrong(key, "a list of texts") from error

    def flag(self, key: str) -> bool | None:
        """True, False, or None if the key is absent.

        Raises:
            ConfigError: It is anything else.
        """
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def pairs(self, key: str) -> tuple[tuple[int, int], ...] | None:
        """A list of up to 1000 pairs of whole numbers from 1, or None if the key is absent.

        Raises:
            ConfigError: It is anything else, or empty.
        """
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return tuple(msgspec.convert(value, _Pairs))
        except msgspec.ValidationError as error:
            raise self._wrong(key, "a list of pairs of whole numbers") from error

    def section(self, key: str) -> Document:
        """An object inside this one; empty if the key is absent.

        Raises:
            ConfigError: It is not an object.
        """
        value = self.values.get(key)
        if value is None:
            return Document(f"{self.name}: {key}", {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Document(f"{self.name}: {key}", value)

    def _wrong(self, key: str, expected: str) -> ConfigError:
        return ConfigError(
            f"In {self.name}, {key} is not {expected}. Get the model's files again from where they "
            "were published."
        )


def read_document(path: Path, name: str) -> Document:
    """Reads a JSON file; a missing file gives an empty document.

    Args:
        path: The file.
        name: Its name in messages.

    Raises:
        ConfigError: It cannot be read, is longer than 8 MiB, is not a JSON object, or is only a
            stand-in such as a Git LFS pointer.
    """
    try:
        if instead := stand_in(path):
            raise ConfigError(f"{name} {instead}.")
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        return Document(name, {})
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ConfigError(f"{name} is longer than {MAX_DOCUMENT_BYTES} bytes; no model needs that.")
    try:
        return Document(name, msgspec.json.decode(data, type=dict[str, Any]))
    except UNDECODABLE as error:
        raise ConfigError(
            f"{name} is not a JSON object ({len(data)} bytes): it is cut off or damaged. Download "
            "it again."
        ) from error
