import json
from pathlib import Path

import pytest

from silkline.errors import EnvironmentFault
from silkline.models.bundle import load_bundle
from silkline.models.gate import Verdict, content_digest, read_gate
from silkline.models.resolve import resolve_model
from silkline.stores.whole_file import replace_file
from tests.models.gates import gated, make_bundle


def test_the_verdict_is_in_the_manifest_by_checksum(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    before = content_digest(load_bundle(folder))
    gated(folder, Verdict.REFUSED)
    again = gated(folder)
    bundle = resolve_model(str(folder))
    assert sorted(bundle.manifest.files) == ["gate.html", "gate.json", "weights"]
    assert read_gate(bundle) == again
    assert content_digest(bundle) == before
    assert json.loads((folder / "bundle.json").read_text())["note"] == "for people"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json", "gate.html", "gate.json", "weights",
    ]  # fmt: skip


@pytest.mark.parametrize("stops_at", [1, 2, 3, 4])
def test_a_crash_leaves_the_bundle_whole_and_never_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_at: int
) -> None:
    folder = make_bundle(tmp_path / "tiny")
    gated(folder, Verdict.REFUSED)
    calls = 0

    def crashing(path: Path, content: bytes, *, mode: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stops_at:
            raise OSError(28, "No space left on device")
        replace_file(path, content, mode=mode)

    monkeypatch.setattr("silkline.optimize.record.replace_file", crashing)
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        gated(folder)
    found = read_gate(resolve_model(str(folder)))
    assert found is None or found.verdict is Verdict.REFUSED
