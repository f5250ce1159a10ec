import json
import math
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.models.safetensors_header import (
    MAX_HEADER_BYTES,
    Tensor,
    parse_header,
    read_header,
)
from tests.models.samples import BITS, header_of, save_tensors

shapes = st.lists(st.integers(0, 20).map(lambda n: n * 2), min_size=1, max_size=4)
tensors = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(BITS)), shapes) | st.just(("F32", list[int]())),
    max_size=8,
)


@settings(deadline=None)
@given(tensors)
def test_what_was_written_is_read(written: dict[str, tuple[str, list[int]]]) -> None:
    header, size = header_of(written)
    found = {tensor.name: tensor for tensor in parse_header(header, size, "x.safetensors")}
    assert set(found) == set(written)
    for name, (dtype, shape) in written.items():
        assert found[name] == Tensor(name, dtype, tuple(shape))
        assert found[name].elements == math.prod(shape)


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 10**6))
def test_any_bytes_are_read_or_refused(header: bytes, size: int) -> None:
    with suppress(ConfigError):
        parse_header(header, size, "x.safetensors")


json_values: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 2**70, 0.5, "", "F32", [], [1], [[1]], {}]
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        json_values
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F99", ""]) | json_values,
                "shape": st.lists(st.integers(-1, 2**64), max_size=20) | json_values,
                "data_offsets": st.lists(st.integers(-1, 2**64), max_size=3) | json_values,
            }
        ),
        max_size=4,
    ),
    st.integers(0, 1000),
)
def test_any_json_is_read_or_refused(header: dict[str, Any], size: int) -> None:
    try:
        found = parse_header(json.dumps(header).encode(), size, "x.safetensors")
    except ConfigError:
        return
    assert size == 0 or found


@settings(deadline=None)
@given(tensors, st.data())
def test_a_changed_byte_never_breaks_the_reader(
    written: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    header, size = header_of(written)
    place = data.draw(st.integers(0, len(header) - 1))
    changed = bytes([*header[:place], data.draw(st.integers(0, 255)), *header[place + 1 :]])
    with suppress(ConfigError):
        parse_header(changed, size, "x.safetensors")


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": entry(0, 8, [1])}, 8),
        ({"a": entry(0, 4, [1])}, 8),
        ({"a": entry(4, 8, [1])}, 8),
        ({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, 4),
        ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, 12),
        ({"a": entry(4, 0, [1])}, 4),
        ({"a": entry(0, 4, [1], "F99")}, 4),
        ({"a": entry(0, 4, [2**63])}, 4),
        ({"a": entry(0, 0, [2**40] * 16)}, 0),
        ({"a": entry(0, 4, [1] * 17)}, 4),
        ({"a": {"dtype": "F32"}}, 4),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(header: dict[str, Any], size: int) -> None:
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        parse_header(json.dumps(header).encode(), size, "x.safetensors")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ConfigError):
        parse_header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, "x.safetensors")


def test_only_the_header_of_a_file_is_read(tmp_path: Path) -> None:
    """A file of 40 GB, all of it a hole: reading it would take minutes."""
    path = save_tensors(tmp_path / "big.safetensors", {"w": ("BF16", [20_000_000, 1000])})
    assert path.stat().st_size > 4e10
    assert read_header(path, "big.safetensors") == (Tensor("w", "BF16", (20_000_000, 1000)),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\x00\x00",
        struct.pack("<Q", 2),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 0),
        b"PK\x03\x04 a zip, as torch.save writes it",
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.safetensors is (not a whole|empty)") as caught:
        read_header(path, path.name)
    assert str(tmp_path) not in caught.value.message


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(2 * MAX_HEADER_BYTES)
    with pytest.raises(ConfigError, match="its header cannot be 16777217 bytes long"):
        read_header(path, path.name)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = save_tensors(tmp_path / "model.safetensors", {"w": ("F32", [10])})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(ConfigError, match="cut off, 39 B of 40 B of tensors are here"):
        read_header(path, path.name)
