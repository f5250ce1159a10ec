import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.models.bundle import Bundle
from silkline.models.gate import Verdict, check_gate, read_gate
from silkline.models.resolve import resolve_model
from tests.models.gates import gated, make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def whole(folder: Path) -> Bundle:
    return resolve_model(str(folder))


def test_a_bundle_that_passed_is_served(folder: Path) -> None:
    record = gated(folder)
    assert check_gate(whole(folder), "openvino") == record == read_gate(whole(folder))


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.UNDECIDED])
def test_a_bundle_that_did_not_pass_is_served_only_in_so_many_words(
    folder: Path, verdict: Verdict
) -> None:
    gated(folder, verdict)
    message = (
        rf"The gate's verdict on the bundle tiny is {verdict}\. p99<=1s: 2 s\. .*--ungated true"
    )
    with pytest.raises(ConfigError, match=message):
        check_gate(whole(folder), "openvino")


def test_a_bundle_made_from_another_needs_a_gate_of_its_engine(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny", optimized_from="large@def")
    with pytest.raises(ConfigError, match="made from large@def and was never gated"):
        check_gate(whole(folder), "openvino")
    gated(folder, engine="torch")
    with pytest.raises(ConfigError, match="gated with torch only"):
        check_gate(whole(folder), "openvino")
    gated(folder)
    assert check_gate(whole(folder), "openvino") is not None


def test_a_bundle_of_a_publisher_needs_none(folder: Path) -> None:
    assert check_gate(whole(folder), "openvino") is None
    gated(folder, Verdict.REFUSED, engine="torch")
    assert check_gate(whole(folder), "openvino") is None


def change(folder: Path, name: str, content: bytes) -> None:
    """Changes a file of a bundle and its digest in the manifest."""
    (folder / name).write_bytes(content)
    path = folder / "bundle.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(manifest))


def test_a_verdict_is_about_the_files_that_were_gated(folder: Path) -> None:
    gated(folder)
    change(folder, "weights", b"others")
    with pytest.raises(ConfigError, match="judged other files"):
        check_gate(whole(folder), "openvino")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "not one of this version"),
        (b"not json", "not one of this version"),
        (b'{"verdict": "fine"}', "not one of this version"),
    ],
)
def test_records_that_cannot_be_read(folder: Path, content: bytes, message: str) -> None:
    gated(folder)
    change(folder, "gate.json", content)
    with pytest.raises(ConfigError, match=message):
        check_gate(whole(folder), "openvino")


def test_a_record_of_another_schema(folder: Path) -> None:
    gated(folder, schema=2)
    with pytest.raises(ConfigError, match="has schema 2; this version of Silkline reads 1"):
        read_gate(whole(folder))


@pytest.mark.parametrize("damage", [b"", b'{"verdict": "passed"}'])
def test_a_changed_record_is_damage(folder: Path, damage: bytes) -> None:
    gated(folder, Verdict.REFUSED)
    (folder / "gate.json").write_bytes(damage)
    with pytest.raises(ConfigError, match=r"missing or damaged: gate\.json"):
        whole(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"image_size": 16},
        {"context_length": 64},
        {"engines": {"openvino": {"path": ".", "precision": "int8", "kv_precision": "u8"}}},
        {"engines": {"openvino": {"path": "other", "precision": "int8"}}},
        {"optimized_from": None},
    ],
)
def test_a_verdict_is_about_what_the_manifest_says_too(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    folder = make_bundle(tmp_path / "tiny", optimized_from="large@def")
    gated(folder)
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "for people, changed"}))
    assert check_gate(whole(folder), "openvino") is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ConfigError, match="judged other files or settings"):
        check_gate(whole(folder), "openvino")


@pytest.mark.parametrize("more", [{}, {"optimized_from": "large@def"}])
def test_a_file_that_the_manifest_does_not_list_was_not_judged(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    folder = make_bundle(tmp_path / "tiny", **more)
    gated(folder)
    (folder / ".gate-left-by-a-crash").write_bytes(b"")
    assert check_gate(whole(folder), "openvino") is not None
    (folder / "chat_template.jinja").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match=r"does not list: chat_template\.jinja"):
        check_gate(whole(folder), "openvino")


def test_files_beside_the_engines_folder_do_not_matter(tmp_path: Path) -> None:
    engines = {"openvino": {"path": "ov", "precision": "int8"}}
    folder = make_bundle(tmp_path / "tiny", engines=engines)
    (folder / "ov").mkdir()
    gated(folder)
    (folder / "README.md").write_text("for people")
    assert check_gate(whole(folder), "openvino") is not None
