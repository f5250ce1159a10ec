"""`silkline evaluate --contract` as users run it."""

import hashlib
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from silkline.evaluate.contract.results import Contract, Outcome, Row, Stage, Verdict
from silkline.evaluate.contract.terminal import contract_table
from silkline.evaluate.contract.tolerances import tolerance_of
from tests.evaluate.contract.sides import spoiled_bundle
from tests.serving import command


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As users run it; the import of torch alone takes its time on a busy machine."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.full  # the README's commands, which the quick tests run, have it with the default
@pytest.mark.parametrize("limit", ["DEFAULT", "AVX2"])
def test_the_bundled_model_keeps_the_contract_with_openvino(limit: str) -> None:
    asked = ("evaluate", "silkline-mini", "--contract", "--engine", "openvino", "--json")
    result = run(*asked, ONEDNN_MAX_CPU_ISA=limit)
    assert result.returncode == 0, result.stderr + result.stdout[-2000:]
    found = json.loads(result.stdout)
    assert found["engine"] == "openvino"
    assert len(found["rows"]) == 39
    assert not any(row["broken"] or row["refused"] for row in found["rows"])
    assert all(len(row["stages"]) == len(Stage) for row in found["rows"])


@pytest.mark.slow
def test_a_broken_contract_ends_with_3_and_names_the_stage(tmp_path: Path) -> None:
    bundle = spoiled_bundle(tmp_path, {"image_mean": [0.48, 0.46, 0.41]})
    manifest = json.loads((bundle / "bundle.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    arguments = ("--contract", "--engine", "openvino", "--reference", "silkline-mini")
    result = run("evaluate", str(bundle), "--limit", "3", *arguments)
    assert result.returncode == 3, result.stderr
    lines = result.stdout.splitlines()
    assert any(line.split()[:2] == ["exif-3", "pixels"] for line in lines)
    assert "The contract is broken: 3 of 3 cases differ." in lines


@pytest.mark.slow
def test_without_transformers_the_command_that_installs_it_is_named() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None; from silkline.cli.main import main; "
        "sys.argv = ['silkline', 'evaluate', 'silkline-mini', '--contract']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert result.returncode == 4
    assert "transformers is not installed. Run: pip install 'silkline[torch]'" in result.stderr


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused() -> None:
    fake = run("evaluate", "silkline-mini", "--contract", "--engine", "fake")
    assert fake.returncode == 2
    assert "The engine fake does not support --contract" in fake.stderr
    server = run("evaluate", "http://127.0.0.1:9", "--contract")
    assert server.returncode == 2
    assert "--reference MODEL" in server.stderr


@pytest.mark.slow
def test_what_would_be_passed_over_is_refused() -> None:
    for options, said in (
        (("--contract", "--against", "other"), "--contract takes no --against"),
        (("--contract", "--data", "set.jsonl"), "--contract takes no --data"),
        (("--contract", "--prompt", "What?"), "--contract takes no --prompt"),
        (("--reference", "other"), "--reference needs --contract"),
    ):
        result = run("evaluate", "silkline-mini", "--engine", "fake", *options)
        assert result.returncode == 2
        assert said in result.stderr
    result = run("evaluate", "silkline-mini max_pixels=4096", "--contract", "--engine", "fake")
    assert result.returncode == 2
    assert "--contract takes no max_pixels" in result.stderr


def test_the_table_says_who_differs_where_and_by_how_much() -> None:
    held = Outcome(verdict=Verdict.HELD, cell="0")
    off = Outcome(verdict=Verdict.BROKEN, cell="37", told="off by up to 37.0/255, 4.20 on average")
    hidden = Outcome(verdict=Verdict.HIDDEN, cell="-", told="a server does not show it")
    rounded = Outcome(verdict=Verdict.ROUNDED, cell="1.4", told="log-probabilities off by 1.40")
    stages = dict.fromkeys(Stage, held) | {Stage.PROMPT: hidden}
    rows = [
        Row(case="odd", title="odd sides", stages=stages | {Stage.PIXELS: off}, broken=True),
        Row(case="grey", title="grey", stages=stages | {Stage.FIRST_TOKEN: rounded}, broken=False),
        Row(
            case="wide", title="wide", refused="transformers does not support it: no", broken=False
        ),
    ]
    found = Contract(
        model="m", engine="e", precision="int8", revision="r", reference="transformers",
        tolerance=tolerance_of("int8"), rows=rows, hidden={Stage.PROMPT: hidden.told},
    )  # fmt: skip
    text = StringIO()
    Console(file=text, width=100).print(contract_table(found))
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "odd pixels 0 0 37 0 - 0" in lines
    assert "grey none 0 0 0 0 - 1.4" in lines
    assert "wide not taken" in lines
    assert "odd, odd sides: pixels: off by up to 37.0/255, 4.20 on average." in lines
    assert "prompt: a server does not show it." in lines
    assert "The contract is broken: 1 of 3 cases differ." in lines
    assert any(
        line.startswith("First tokens off by more, from rounded weights: grey.") for line in lines
    )
