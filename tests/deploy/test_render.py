"""`silkline render` through its command line: what is written, compared and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from silkline.deploy.catalogue import TARGETS
from tests.cli.commands import invoked

ALL = tuple(TARGETS)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    assert invoked("render", *ALL, "-o", folder).code == 0
    return folder


def test_each_target_has_a_folder_of_its_own(rendered: Path) -> None:
    assert {name.partition("/")[0] for name in tree(rendered)} == set(ALL)


def test_the_same_settings_give_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    assert invoked("render", *reversed(ALL), "-o", tmp_path).code == 0
    assert tree(tmp_path) == tree(rendered)


def test_check_passes_on_what_was_rendered_and_writes_nothing(
    rendered: Path, tmp_path: Path
) -> None:
    before = tree(rendered)
    assert invoked("render", *ALL, "-o", rendered, "--check").code == 0
    assert tree(rendered) == before
    missing = invoked("render", "prometheus", "-o", tmp_path, "--check")
    assert (missing.code, tree(tmp_path)) == (1, {})
    assert missing.output.startswith("missing ")


def test_a_changed_file_is_shown_and_then_written_again(tmp_path: Path) -> None:
    invoked("render", "prometheus", "-o", tmp_path)
    before = tree(tmp_path)
    file = tmp_path / "prometheus" / "prometheus.yml"
    file.write_text(file.read_text().replace("scrape_timeout: 10s", "scrape_timeout: 9s"))
    (tmp_path / "prometheus" / "mine.yml").write_text("kept")
    shown = invoked("render", "prometheus", "-o", tmp_path, "--diff")
    assert shown.code == 0
    lines = shown.output.splitlines()
    assert [
        line[1:].strip() for line in lines if line[:1] in "+-" and line[:3] not in "+++---"
    ] == [
        "scrape_timeout: 9s",
        "scrape_timeout: 10s",
    ]
    assert invoked("render", "prometheus", "-o", tmp_path, "--check", "--diff").code == 1
    found = json.loads(invoked("render", "prometheus", "-o", tmp_path, "--check", "--json").output)
    states = {Path(each["path"]).name: each["state"] for each in found["files"]}
    assert states["prometheus.yml"] == "different"
    invoked("render", "prometheus", "-o", tmp_path)
    after = tree(tmp_path)
    assert after.pop("prometheus/mine.yml") == b"kept"
    assert after == before


def test_the_settings_decide(tmp_path: Path) -> None:
    config = tmp_path / "silkline.toml"
    config.write_text('[monitoring]\nscrape_targets = ["a.example:1", "b.example:2"]\n')
    assert invoked("render", "prometheus", "-o", tmp_path, "--config", config).code == 0
    written = (tmp_path / "prometheus" / "prometheus.yml").read_text()
    assert "- a.example:1\n" in written
    assert "- b.example:2\n" in written


def test_a_folder_that_cannot_be_written_and_an_unknown_target_end_with_their_codes(
    tmp_path: Path,
) -> None:
    (tmp_path / "prometheus").write_text("a file")
    refused = invoked("render", "prometheus", "-o", tmp_path)
    assert refused.code == 4
    assert "cannot be written" in refused.error
    assert invoked("render", "prometeus", "-o", tmp_path).code == 2
