"""The digest of a model's files, and what of it is kept between runs."""

import os
from pathlib import Path

import msgspec
import pytest

from silkline.models.source import Digests

LARGE = 1024 * 1024 + 1


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "model.safetensors").write_bytes(bytes(LARGE))
    (folder / "README.md").write_text("A model.")
    return folder


def digest(model: Path) -> str:
    return Digests(model.parent / "kept" / "digests.json").folder(model)


def test_the_same_files_have_the_same_digest_wherever_they_lie(model: Path) -> None:
    first = digest(model)
    elsewhere = model.rename(model.with_name("elsewhere"))
    assert digest(elsewhere) == first


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_another_content_has_another_digest(model: Path, name: str) -> None:
    first = digest(model)
    content = bytearray((model / name).read_bytes())
    content[-2] ^= 1  # the same length
    (model / name).write_bytes(content)
    assert digest(model) != first


def test_another_name_or_file_has_another_digest(model: Path) -> None:
    first = digest(model)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    second = digest(model)
    (model / "config.json").rename(model / "confi.json")
    assert len({first, second, digest(model)}) == 3


def test_what_decides_nothing_does_not_count(model: Path) -> None:
    first = digest(model)
    (model / "README.md").write_text("Another text.")
    (model / ".cache").mkdir()
    (model / ".cache" / "a.json").write_text("{}")
    assert digest(model) == first


def test_large_files_are_read_once(model: Path) -> None:
    """Content that changes behind an unchanged stamp is not seen: nothing was read."""
    first = digest(model)
    weights = model / "model.safetensors"
    before = weights.stat()
    assert digest(model) == first
    known = (model.parent / "kept" / "digests.json").read_text()
    assert str(weights) in known
    assert "config.json" not in known
    weights.write_bytes(bytes(LARGE - 1) + b"\1")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # ctime still tells
    assert digest(model) != first


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"a": 1}'])
def test_a_damaged_memory_costs_only_time(model: Path, kept: bytes) -> None:
    first = digest(model)
    (model.parent / "kept" / "digests.json").write_bytes(kept)
    assert digest(model) == first


def test_a_memory_that_cannot_be_written_costs_only_time(model: Path) -> None:
    (model.parent / "kept").write_text("no folder")
    assert digest(model) == digest(model)


def test_a_remembered_place_that_cannot_be_looked_at_is_forgotten(model: Path) -> None:
    first = digest(model)
    memory = model.parent / "kept" / "digests.json"
    known = msgspec.json.decode(memory.read_bytes())
    memory.write_bytes(msgspec.json.encode({f"/{'x' * 300}": next(iter(known.values()))}))
    assert digest(model) == first
    assert msgspec.json.decode(memory.read_bytes()) == known


def test_a_model_of_the_hub_is_linked_files(model: Path) -> None:
    first = digest(model)
    snapshot = model.parent / "snapshot"
    snapshot.mkdir()
    for path in model.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert digest(snapshot) == first
