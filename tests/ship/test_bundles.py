"""Shipped bundles by their digests, with the statements that others' tools read."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest

from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.gate import Verdict, content_digest, read_gate
from silkline.ship.bundles import GATE, PROVENANCE, SBOM, Bundles, copy_ungated
from silkline.ship.sbom import sbom
from silkline.ship.statements import Made, judgement, provenance
from tests.models.gates import gated, make_bundle


@pytest.fixture
def source(tmp_path: Path) -> Bundle:
    return load_bundle(make_bundle(tmp_path / "source"))


def test_a_bundle_is_kept_once_by_its_digest(source: Bundle, tmp_path: Path) -> None:
    bundles = Bundles(tmp_path / "bundles")
    kept = bundles.put(source)
    assert kept.folder == tmp_path / "bundles" / content_digest(source) / "bundle"
    assert content_digest(kept) == content_digest(source)
    assert kept.damaged_files() == []
    assert bundles.put(source) == kept
    for text in (content_digest(source)[:6], source.manifest.revision, source.label):
        assert bundles.find(text) == [kept]
    for text in ("", "xyz", "tiny@none", content_digest(source)[:5]):
        with pytest.raises(ConfigError, match=f"there are: {source.label}"):
            bundles.find(text)


def test_a_later_verdict_on_the_same_content_counts(source: Bundle, tmp_path: Path) -> None:
    bundles = Bundles(tmp_path / "bundles")
    gated(source.folder, Verdict.UNDECIDED)
    bundles.put(load_bundle(source.folder))
    gated(source.folder, Verdict.PASSED)
    kept = bundles.put(load_bundle(source.folder))
    record = read_gate(kept)
    assert record is not None
    assert record.verdict is Verdict.PASSED
    assert kept.damaged_files() == []


def test_a_copy_to_be_gated_has_no_verdict_of_others(source: Bundle, tmp_path: Path) -> None:
    gated(source.folder)
    copy = copy_ungated(load_bundle(source.folder), tmp_path / "copy")
    assert read_gate(copy) is None
    assert content_digest(copy) == content_digest(load_bundle(source.folder))
    (name,) = copy.manifest.files
    (copy.folder / name).write_bytes(b"changed")
    assert load_bundle(source.folder).damaged_files() == []  # the user's files are the user's


def test_what_a_crash_left_is_not_taken_for_a_bundle(source: Bundle, tmp_path: Path) -> None:
    bundles = Bundles(tmp_path / "bundles")
    draft = tmp_path / "bundles" / content_digest(source) / ".bundle.draft"
    draft.mkdir(parents=True)
    (draft / "half").write_text("of it")
    kept = bundles.put(source)
    assert not (kept.folder / "half").exists()


def test_statements_are_found_again_and_their_checksums_hold(
    source: Bundle, tmp_path: Path
) -> None:
    bundles = Bundles(tmp_path / "bundles")
    kept, digest = bundles.put(source), content_digest(source)
    made = Made("abc", {"command": "silkline ship m"}, {"seed": 0}, [{"name": "data"}], [],
                {"silkline": "1"}, 0.0, 60.0)  # fmt: skip
    verdicts = {"p99<=1s": Verdict.PASSED, "accuracy_drop<=1pt": Verdict.UNDECIDED}
    written = {
        PROVENANCE: provenance(source, digest, made),
        GATE: judgement(source, digest, verdicts, []),
    }
    bundles.write(digest, "abc", {**written, SBOM: sbom(source.label, digest, "MIT")})
    assert bundles.statements(kept) == {"abc": written}
    run = written[PROVENANCE]["predicate"]["runDetails"]
    assert run["metadata"]["finishedOn"] == "1970-01-01T00:01:00Z"
    assert written[GATE]["predicate"]["result"] == "WARNED"
    folder = kept.folder.parent / "abc"
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    (kept.folder / "bundle.json").write_text("{}")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        ({"a": Verdict.PASSED}, "PASSED"),
        ({"a": Verdict.PASSED, "b": Verdict.UNDECIDED}, "WARNED"),
        ({"a": Verdict.UNDECIDED, "b": Verdict.REFUSED}, "FAILED"),
    ],
)
def test_a_judgement_is_as_its_worst_verdict(
    source: Bundle, verdicts: dict[str, Verdict], result: str
) -> None:
    assert judgement(source, "0", verdicts, [])["predicate"]["result"] == result


def test_the_bill_of_materials_has_the_form_of_cyclonedx(source: Bundle) -> None:
    vendored = files("cyclonedx") / "schema" / "_res"
    schema = json.loads((vendored / "bom-1.6.SNAPSHOT.schema.json").read_text("utf-8"))
    registry = jsonschema_rs.Registry(
        [
            (
                f"http://cyclonedx.org/schema/{name}",
                json.loads((vendored / name).read_text("utf-8")),
            )
            for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
        ]
    )
    validator = jsonschema_rs.validator_for(schema, registry=registry)
    found = sbom(source.label, content_digest(source), "MIT")
    validator.validate(found)
    assert not validator.is_valid(found | {"specVersion": 1.6})
    components = {each["name"]: each for each in found["components"]}
    assert components["msgspec"]["purl"].startswith("pkg:pypi/msgspec@")
    assert found["metadata"]["component"]["hashes"][0]["content"] == content_digest(source)
