"""The shipped model: complete, unchanged since its manifest was written, small, without traces."""

import json
from pathlib import Path

import pytest

from recipes.mini.bundle import (
    DEFAULT_BUNDLE,
    SIZE_LIMIT,
    check_clean,
    digest,
    shipped_files,
    write_manifest,
)
from recipes.mini.chat import CHAT_TEMPLATE, OPENVINO_CHAT_TEMPLATE, SPECIALS

MANIFEST = json.loads((DEFAULT_BUNDLE / "bundle.json").read_text())


def test_every_file_is_listed_with_its_digest() -> None:
    found = {p.relative_to(DEFAULT_BUNDLE).as_posix(): digest(p) for p in listed()}
    assert found == MANIFEST["files"]


def listed() -> list[Path]:
    return shipped_files(DEFAULT_BUNDLE)


def test_the_bundle_is_small_and_clean() -> None:
    assert sum(path.stat().st_size for path in listed()) <= SIZE_LIMIT
    check_clean(DEFAULT_BUNDLE)


def test_engines_can_find_what_they_need() -> None:
    root = MANIFEST["engines"]["transformers"]
    assert (DEFAULT_BUNDLE / root["chat_template"]).read_text() == CHAT_TEMPLATE
    genai = MANIFEST["engines"]["openvino"]
    assert (DEFAULT_BUNDLE / genai["chat_template"]).read_text() == OPENVINO_CHAT_TEMPLATE
    for part in ("language_model", "vision_embeddings_model", "text_embeddings_model", "tokenizer"):
        assert (DEFAULT_BUNDLE / genai["path"] / f"openvino_{part}.xml").is_file()


def test_the_tokenizer_has_our_special_tokens_first() -> None:
    tokenizer = json.loads((DEFAULT_BUNDLE / "tokenizer.json").read_text())
    first = [entry["content"] for entry in tokenizer["added_tokens"][: len(SPECIALS)]]
    assert first == list(SPECIALS)
    config = json.loads((DEFAULT_BUNDLE / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_local_path_in_a_shipped_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_name_or_path": "/home/someone/model"}')
    with pytest.raises(ValueError, match=r"config\.json"):
        write_manifest(tmp_path, 1, "int8")


def test_a_bundle_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    with pytest.raises(ValueError, match="more than"):
        write_manifest(tmp_path, 1, "int8")


def test_the_manifest_follows_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = write_manifest(tmp_path, 1, "int8")
    (tmp_path / "model.safetensors").write_bytes(b"two")
    second = write_manifest(tmp_path, 1, "int8")
    assert first["revision"] != second["revision"]
    assert "Not measured yet" in (tmp_path / "MODEL_CARD.md").read_text()
