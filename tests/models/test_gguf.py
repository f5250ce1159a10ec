"""The metadata of GGUF files."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.models.gguf import read_gguf
from tests.engines.managed.models import GGUF_MODEL, gguf

VALUES = st.one_of(st.integers(0, 2**32 - 1), st.text(max_size=20))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "x.gguf"


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=5))
def test_what_was_written_is_read(file: Path, values: dict[str, int | str]) -> None:
    file.write_bytes(gguf(values))
    assert read_gguf(file) == values


@given(st.data())
def test_a_file_that_is_cut_off_is_refused(file: Path, data: st.DataObject) -> None:
    whole = gguf(GGUF_MODEL)
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ConfigError, match=r"x\.gguf"):
        read_gguf(file)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(file: Path, data: bytes) -> None:
    file.write_bytes(b"GGUF" + struct.pack("<I", 3) + data)
    with suppress(ConfigError):
        read_gguf(file)


def test_numbers_of_all_kinds(file: Path) -> None:
    kinds = {0: ("<B", 7), 1: ("<b", -7), 2: ("<H", 7), 3: ("<h", -7), 5: ("<i", -7),
             6: ("<f", 0.5), 7: ("<?", True), 10: ("<Q", 2**40), 11: ("<q", -7),
             12: ("<d", 0.1)}  # fmt: skip
    head = b"GGUF" + struct.pack("<IQQ", 2, 0, len(kinds))
    for kind, (form, number) in kinds.items():
        head += struct.pack("<Q", 1) + str(kind % 10).encode() + struct.pack("<I", kind)
        head += struct.pack(form, number)
    file.write_bytes(head)
    assert list(read_gguf(file).values())[-1] in {0.1, 0.5, 7, -7, True, 2**40}
