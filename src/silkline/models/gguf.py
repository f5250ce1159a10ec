"""Reads the metadata of a GGUF file, without its tensors.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, TypeAlias

from silkline.errors import ConfigError
from silkline.models.stand_in import stand_in

Value: TypeAlias = "int | float | bool | str | list[Value]"

_MAGIC = b"GGUF"
_VERSIONS = frozenset({2, 3})
_MAX_KEYS = 65_536
_MAX_ITEMS = 4_000_000
_MAX_TEXT_BYTES = 16 * 1024 * 1024

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
            11: "<q", 12: "<d"}  # fmt: skip
_TEXT, _ARRAY = 8, 9


def read_gguf(path: Path) -> dict[str, Value]:
    """Reads the metadata by key, in the file's order.

    Raises:
        ConfigError: The file is not a GGUF of version 2 or 3, is truncated or invalid, or is only a
            stand-in such as a Git LFS pointer.
    """
    try:
        if instead := stand_in(path):
            raise ConfigError(f"{path.name} {instead}.")
        with path.open("rb") as file:
            return _Reader(file).metadata()
    except (OSError, struct.error, UnicodeDecodeError, _Nonsense) as error:
        raise ConfigError(
            f"The file {path.name} is not a complete GGUF of version 2 or 3. Convert or download "
            "it again."
        ) from error


class _Nonsense(Exception):
    """The bytes are not valid GGUF."""


class _Reader:
    """Reads the values of a file in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def metadata(self) -> dict[str, Value]:
        """Reads all keys and values."""
        if self._bytes(4) != _MAGIC or self._number("<I") not in _VERSIONS:
            raise _Nonsense
        self._number("<Q")  # number of tensors
        keys = self._count(_MAX_KEYS)
        return {self._text(): self._value(int(self._number("<I"))) for _ in range(keys)}

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY or depth > 1:
            raise _Nonsense
        inner = int(self._number("<I"))
        count = self._count(_MAX_ITEMS)
        if inner in _NUMBERS:
            form = _NUMBERS[inner]
            data = self._bytes(count * struct.calcsize(form))
            return [value for (value,) in struct.iter_unpack(form, data)]
        return [self._value(inner, depth + 1) for _ in range(count)]

    def _count(self, maximum: int) -> int:
        count = int(self._number("<Q"))
        if count > maximum:
            raise _Nonsense
        return count

    def _text(self) -> str:
        return self._bytes(self._count(_MAX_TEXT_BYTES)).decode("utf-8", "replace")

    def _number(self, form: str) -> int | float | bool:
        (value,) = struct.unpack(form, self._bytes(struct.calcsize(form)))
        number: int | float | bool = value
        return number

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise _Nonsense
        return data
