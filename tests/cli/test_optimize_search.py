"""A whole search, with an engine whose speed and answers are scripted."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silkline.models.bundle import load_bundle
from silkline.models.gate import check_gate
from tests.cli.test_evaluate import write_set
from tests.optimize.scripted import KILL, install, make_scripted

Ended = subprocess.CompletedProcess[str]
Search = Callable[..., Ended]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Runs `silkline optimize` where the scripted engine is installed."""
    home = tmp_path_factory.mktemp("search")
    variables = os.environ | install(home / "site")
    bundle, data = make_scripted(home / "bundle"), write_set(home, 72)

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Ended:
        command = ["optimize", bundle, "--engine", "scripted", "--data", data, "--for", "3s"]
        command += ["--slice", "0.5s", "--require", "agreement>=80%", "--json", *arguments]
        return subprocess.run(
            [sys.executable, "-m", "silkline", *map(str, command)],
            env=variables | (environment or {}),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def tried(folder: Path) -> list[tuple[str, int]]:
    """Candidates and numbers of items in a search's journal, in the order of the trials."""
    with sqlite3.connect(folder / "search.sqlite") as file:
        return file.execute("SELECT names, items FROM trials ORDER BY rowid").fetchall()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_fastest_that_keeps_the_answers_is_picked_and_a_killed_search_continues(
    search: Search, tmp_path: Path
) -> None:
    out, kill = tmp_path / "small", tmp_path / "kill"
    kill.touch()
    killed = search("--out", out, environment={KILL: str(kill)})
    assert killed.returncode == -9, killed.stderr
    before = tried(tmp_path / "small.search")
    assert ("faster", 24) in before
    kill.unlink()
    found = search("--out", out, environment={KILL: str(kill)})
    assert found.returncode == 0, found.stderr
    after = tried(tmp_path / "small.search")
    assert after[: len(before)] == before  # nothing was tried again
    result = json.loads(found.stdout)
    assert result["picked"] == ["faster"]
    said: dict[str, Any] = {each["name"]: each for each in result["effects"]}
    assert said["faster"]["helps"]
    assert not said["wrong"]["helps"]
    assert "agreement>=80%" in said["wrong"]["about"]
    assert "not this model" in said["broken"]["about"]
    assert "scripted has no such part" in said["unfit"]["about"]
    assert "does not help the speed here" in said["slower"]["about"]
    bundle = load_bundle(out)
    assert bundle.damaged_files() == []
    gate = check_gate(bundle, "scripted")
    assert gate is not None
    assert gate.verdict == "passed"
    assert gate.items == result["confirming"] == 36
    assert (out / "gate.html").read_text() == (tmp_path / "small.search/report.html").read_text()
    again = search("--out", out)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.full
@pytest.mark.timeout(300)
def test_nothing_is_written_if_nothing_passes(search: Search, tmp_path: Path) -> None:
    found = search("--out", tmp_path / "new", "--require", "throughput>=50x")
    assert found.returncode == 3, found.stderr
    result = json.loads(found.stdout)
    assert (result["picked"], result["bundle"]) == (None, "")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "new.search" / "report.html").is_file()
    other = search("--out", tmp_path / "new", "--seed", "1")
    assert other.returncode == 2
    assert "journal of another search" in other.stderr
