import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.models.bundle import load_bundle
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder, resolve_model
from tests.models.gates import tiny_manifest


@pytest.fixture
def manifest() -> dict[str, Any]:
    engines = {"openvino": {"path": "ov", "precision": "int8"}}
    return tiny_manifest() | {"engines": engines}


def save(folder: Path, manifest: dict[str, Any]) -> Path:
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "weights").write_bytes(b"weights")
    return folder


def test_a_bundle_is_read(tmp_path: Path, manifest: dict[str, Any]) -> None:
    bundle = resolve_model(str(save(tmp_path, manifest)))
    assert bundle.manifest.name == "tiny"
    assert bundle.weights("openvino") == tmp_path / "ov"


def test_an_engine_without_weights_is_refused(tmp_path: Path, manifest: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no weights for the engine torch"):
        load_bundle(save(tmp_path, manifest)).weights("torch")


def test_damage_is_seen_before_serving(tmp_path: Path, manifest: dict[str, Any]) -> None:
    folder = save(tmp_path, manifest)
    (folder / "weights").write_bytes(b"Weights")
    with pytest.raises(ConfigError, match="missing or damaged: weights"):
        resolve_model(str(folder))
    (folder / "weights").unlink()
    with pytest.raises(ConfigError, match="missing or damaged: weights"):
        resolve_model(str(folder))


def weights_in(path: str) -> dict[str, Any]:
    return {"engines": {"openvino": {"path": path, "precision": "int8"}}}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"name": 3},
        {"engines": {"openvino": {}}},
        {"files": None},
        {"name": ""},
        {"name": "a b"},
        {"name": "tiny\r\nx: y"},
        {"name": "tiny\n"},
        {"name": "n" * 101},
        {"revision": "a\nb"},
        {"revision": ""},
        {"image_size": 0},
        {"context_length": 0},
        {"image_tokens": -1},
        weights_in("/etc"),
        weights_in("../other"),
        weights_in("ov/.."),
        weights_in("a/../../b"),
        weights_in(""),
        {"files": {"/etc/passwd": "00"}},
        {"files": {"../secret": "00"}},
    ],
)
def test_a_manifest_of_another_form_is_refused(
    tmp_path: Path, manifest: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        load_bundle(save(tmp_path, manifest | change))


@pytest.mark.parametrize("path", [".", "ov", "a/b", "a..b/c..", "..a"])
def test_weights_may_lie_anywhere_in_the_bundle(
    tmp_path: Path, manifest: dict[str, Any], path: str
) -> None:
    bundle = load_bundle(save(tmp_path, manifest | weights_in(path)))
    assert bundle.weights("openvino") == tmp_path / path


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected silkline-mini or the folder"):
        resolve_model(str(tmp_path))


def test_the_bundled_model_is_whole() -> None:
    bundle = resolve_model(BUNDLED_MODEL)
    assert bundle.folder == bundled_folder()
    assert bundle.manifest.name == BUNDLED_MODEL
    size = sum(file.stat().st_size for file in bundle.folder.rglob("*") if file.is_file())
    assert size <= 15e6
