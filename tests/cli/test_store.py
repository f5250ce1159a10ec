import json
from pathlib import Path

import pytest

from silkline.models.store import Store
from tests.cli.test_main import run
from tests.models.test_store import fill


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    kept = Store(tmp_path / "store")
    kept.make("aa11", fill)
    kept.make("bb22", fill)
    (kept.folder / "bb22" / "bundle.json").unlink()
    return kept


def test_what_is_kept_is_listed(kept: Store) -> None:
    result = run("store", "--export-store", str(kept.folder), "--json")
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout)
    assert (first["key"], first["model"], first["precision"]) == ("aa11", "tiny", "int8")
    assert second.keys() == {"key", "folder", "bytes"}
    table = run("store", "--export-store", str(kept.folder)).stdout
    assert "aa11" in table
    assert "damaged" in table


def test_entries_are_removed_one_by_one_and_all(kept: Store) -> None:
    result = run("store", "--export-store", str(kept.folder), "--remove", "bb")
    assert result.stdout == "removed bb22\n"
    assert [entry.key for entry in kept.entries()] == ["aa11"]
    for key in ("zz", ""):
        result = run("store", "--export-store", str(kept.folder), "--remove", key)
        assert result.returncode == 2
        assert f"0 entries of the store begin with '{key}'" in result.stderr
    assert run("store", "--export-store", str(kept.folder), "--clear").stdout == "removed aa11\n"
    assert kept.entries() == []


def test_clearing_takes_along_what_killed_exports_left(kept: Store) -> None:
    (kept.folder / "cc33.draft-x").mkdir()
    assert run("store", "--export-store", str(kept.folder), "--clear").returncode == 0
    assert not list(kept.folder.glob("*.draft-*"))


def test_what_is_served_is_not_removed(kept: Store) -> None:
    hold = kept.hold("aa11")
    result = run("store", "--export-store", str(kept.folder), "--remove", "aa")
    assert result.returncode == 4
    assert "aa11 of the store is being served" in result.stderr
    assert "Stop the `silkline` that serves it" in result.stderr
    result = run("store", "--export-store", str(kept.folder), "--clear")
    assert (result.returncode, result.stdout) == (4, "removed bb22\n")
    assert [entry.key for entry in kept.entries()] == ["aa11"]
    hold.release()
    assert run("store", "--export-store", str(kept.folder), "--clear").stdout == "removed aa11\n"


def test_names_in_a_manifest_give_the_terminal_no_orders(kept: Store) -> None:
    path = kept.folder / "aa11" / "bundle.json"
    manifest = json.loads(path.read_bytes()) | {"family": "\x1b[2Jllava"}
    path.write_text(json.dumps(manifest))
    table = run("store", "--export-store", str(kept.folder)).stdout
    assert "\x1b" not in table
    assert r"\x1b[2Jllava" in table


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    result = run("store", "--export-store", str(tmp_path / "none"), "--json")
    assert (result.returncode, result.stdout) == (0, "[]\n")
    assert not (tmp_path / "none").exists()
