"""`silkline cascade fit`, with models that know nothing."""

import json
from pathlib import Path

from click.testing import CliRunner

from silkline.cli.main import silkline


def test_it_asks_both_and_writes_what_it_found(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    command = [
        "cascade", "fit", "any", "any max_tokens=2", "--engine", "fake", "--data", str(data),
        "--keep", "0.4", "--out", str(out), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(silkline, command, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found == json.loads((out / "cascade.json").read_bytes())
    assert (found["items"], found["images"], found["metric"]) == (24, 12, "agreement")
    fitted = found["fitted"]
    assert fitted["large"] == 1.0
    assert fitted["chosen"]["low"] >= 0.4
    assert 0 < fitted["chosen"]["threshold"] < 1  # the fake engine tells log-probabilities
    text = (out / "cascade.html").read_text()
    assert text.count("<svg") == 2
