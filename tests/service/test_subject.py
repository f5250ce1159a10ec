"""What tells subjects apart, so that a journal's answers count for the right one only."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from silkline.core import PixelBudget
from silkline.service.subject import GatewayAsker, bundle_of, parse_subject
from tests.models.gates import make_bundle


def fingerprint(text: str) -> str:
    """The fingerprint of a subject that serves as the bundle tiny@abc does."""
    info = SimpleNamespace(
        engine="openvino", precision="int8", pixel_budget=PixelBudget(), features=frozenset()
    )
    model = SimpleNamespace(info=info, label="tiny@abc")
    answering: Any = SimpleNamespace(models=SimpleNamespace(default=model))
    spec = parse_subject(text, None, {}, 64)
    intake: Any = None
    return GatewayAsker(spec, answering, intake).subject().fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"weights": "0" * 64}},
        {"image_size": 16},
        {"engines": {"openvino": {"path": ".", "precision": "int8", "kv_precision": "u8"}}},
    ],
)
def test_a_changed_bundle_is_another_subject_whatever_its_revision(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    folder = make_bundle(tmp_path / "tiny")
    before = fingerprint(f"{folder} engine=openvino")
    assert fingerprint(f"{folder}/../tiny engine=openvino max_batch=2") == before
    make_bundle(folder, **changed)
    assert fingerprint(f"{folder} engine=openvino") != before


def test_settings_that_change_answers_make_another_subject(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    texts = ["", "engine_options=a=1", "max_tokens=8", "max_pixels=8", "choices=likely"]
    texts.append("sampling_defaults=model")
    found = [fingerprint(f"{folder} engine=openvino {text}".strip()) for text in texts]
    assert len(set(found)) == len(texts)


def test_only_a_bundle_that_answers_here_counts(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    assert json.loads((folder / "bundle.json").read_text())["name"] == "tiny"
    answering = bundle_of(parse_subject(f"{folder}", None, {}, 64))
    assert answering is not None
    assert answering.folder == folder
    for text in ("http://127.0.0.1:1", f"{folder} engine=fake"):
        assert bundle_of(parse_subject(text, None, {}, 64)) is None
