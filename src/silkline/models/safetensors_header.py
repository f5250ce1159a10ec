"""Reads the header of a safetensors file: the list of its tensors, without their data.

The format (https://github.com/huggingface/safetensors#format): 8 bytes with the length N of the
header, little-endian and unsigned; N bytes of JSON that begin with `{`; then the tensors' bytes,
without gaps. A header that contradicts itself or the file's length is refused.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.amounts import bytes_text
from silkline.models.stand_in import stand_in

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""Maximum length of a header; the format allows 100 MB, published models stay below 1 MB."""

_LENGTH_BYTES = 8
_SHORTEST = len("{}")

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Bits of an element by dtype, as the format names them."""

_Size = Annotated[int, Meta(ge=0, le=2**62)]


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: Annotated[tuple[_Size, ...], Meta(max_length=16)]
    data_offsets: tuple[_Size, _Size]


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of a file.

    Attributes:
        name: Its name in the model, such as "lm_head.weight".
        dtype: The format's name of the dtype, such as "BF16".
        shape: Its lengths, outermost first.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in the file, in bytes."""
        return self.elements * _BITS[self.dtype] // 8


def read_header(path: Path, name: str) -> tuple[Tensor, ...]:
    """Reads the list of a file's tensors, in the order of their data.

    Args:
        path: The file; only its header is read.
        name: The file's name in messages.

    Raises:
        ConfigError: It cannot be read or is not a complete safetensors file.
    """
    try:
        if instead := stand_in(path):
            raise ConfigError(f"{name} {instead}.")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not _SHORTEST <= length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
                raise _damaged(name, f"its header cannot be {length} bytes long in {size}")
            header = file.read(length)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from error
    return parse_header(header, size - _LENGTH_BYTES - len(header), name)


def parse_header(header: bytes, data_bytes: int, name: str) -> tuple[Tensor, ...]:
    """Parses the list of tensors in a header, in the order of their data.

    Args:
        header: The JSON.
        data_bytes: Number of bytes that follow the header in the file.
        name: The file's name in messages.

    Raises:
        ConfigError: The header is not in the documented format, or does not match the data.
    """
    if not header.startswith(b"{"):
        raise _damaged(name, "its header is not a JSON object")
    try:
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        entries = {key: msgspec.json.decode(value, type=_Entry) for key, value in raw.items()}
    except UNDECODABLE as error:
        raise _damaged(name, "its header does not have the documented form") from error
    tensors, end = [], 0
    for key, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        bits = _BITS.get(entry.dtype)
        if bits is None:
            raise _damaged(name, f"it names an unknown dtype, {entry.dtype[:20]!r}")
        begin, after = entry.data_offsets
        if begin != end or (after - begin) * 8 != math.prod(entry.shape) * bits:
            raise _damaged(name, "the offsets of its tensors do not match their shapes")
        tensors.append(Tensor(key, entry.dtype, entry.shape))
        end = after
    if end > data_bytes:
        raise _damaged(
            name,
            f"it is cut off, {bytes_text(data_bytes)} of {bytes_text(end)} of tensors are here",
        )
    if end != data_bytes:
        raise _damaged(name, f"its tensors take {end} bytes and {data_bytes} follow the header")
    return tuple(tensors)


def _damaged(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name} is not a whole safetensors file: {why}. Download or copy it again.")
