"""The engine of docs/engines.md, installed as a package of its own, takes part in everything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.samples import LLAVA_15_7B, save_whole

PAGE = Path(__file__).parents[2] / "docs/engines.md"
MAX_EXAMPLE_LINES = 80

Silkline = Callable[..., subprocess.CompletedProcess[str]]


def example() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def silkline(tmp_path: Path) -> Silkline:
    """Runs a command where the example is installed."""
    site = tmp_path / "site"
    metadata = site / "silkline_shout-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: silkline-shout\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[silkline.engines]\nshout = shout:SPEC\n")
    (site / "shout.py").write_text(example(), encoding="utf-8")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "silkline", *arguments],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def odd_model(tmp_path: Path) -> str:
    """A model of a family that no built-in engine on this machine knows."""
    folder = save_whole(tmp_path / "odd-model", LLAVA_15_7B)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "unheard_of"}))
    return str(folder)


def test_the_example_is_short() -> None:
    assert example().count("\n") < MAX_EXAMPLE_LINES


@pytest.mark.slow
def test_inspect_and_auto_and_the_answer_know_it(silkline: Silkline, odd_model: str) -> None:
    found = json.loads(silkline("inspect", odd_model, "--json").stdout)
    assert {each["engine"]: each["verdict"] for each in found["engines"]}["shout"] == "yes"
    picture = Path(__file__).parents[2] / "examples/pictures/red-mug.jpg"
    answered = silkline("describe", odd_model, str(picture), "--prompt", "what is this", "--json")
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["response"] == "WHAT IS THIS "
    assert "auto took shout; openvino cannot" in answered.stderr


def test_inspect_says_why_it_cannot(silkline: Silkline, tmp_path: Path) -> None:
    folder = tmp_path / "weightless"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "model-q4.gguf").write_bytes(b"GGUF")
    engines = json.loads(silkline("inspect", str(folder), "--json").stdout)["engines"]
    assert {"engine": "shout", "verdict": "no"}.items() <= next(
        each for each in engines if each["engine"] == "shout"
    ).items()


def test_doctor_knows_it(silkline: Silkline) -> None:
    findings = json.loads(silkline("doctor", "--engine", "shout", "--json").stdout)
    assert {"what": "engine", "verdict": "good", "detail": "shout"}.items() <= next(
        each for each in findings if each["what"] == "engine"
    ).items()
