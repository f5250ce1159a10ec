"""`silkline bench --mlperf` against a server, on a catalogue of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline
from tests.pictures import encoded
from tests.serving import served

PATH = "Apparel > Shoes > Sneakers"


@pytest.mark.slow
def test_it_measures_the_scenarios_and_the_score(tmp_path: Path) -> None:
    rows = []
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(40 + number, 30))
        rows.append({"picture": f"{number}.png", "prompt": PATH})
    lines = [json.dumps(row | {"reference": PATH}) for row in rows]
    (tmp_path / "catalogue.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    with served("--engine", "fake", "--engine-options", "mode=echo") as running:
        result = CliRunner().invoke(
            silkline,
            ["bench", running.url, "--mlperf", str(tmp_path / "catalogue.jsonl"), "--for", "1s",
             "--scenario", "interactive", "--reference", running.url, "--out", str(out), "--json"],
        )  # fmt: skip
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    offline, interactive = found["scenarios"]
    assert (offline["scenario"], interactive["scenario"]) == ("offline", "interactive")
    assert offline["requests"] >= 3
    assert offline["failed"] == 0
    assert 0 <= interactive["per_second"] <= offline["per_second"]
    assert len(interactive["tried"]) >= 6
    assert found["hierarchical_f1"] == found["reference_f1"]
    reasons = dict(reversed(found["invalid"]))
    assert "of the 600 s" in reasons["offline"]
    assert "score" not in reasons
    assert not any("cache" in why for _, why in found["invalid"])
    assert json.loads((out / "mlperf.json").read_text()) == found
    assert "Not a valid run" in (out / "mlperf.html").read_text()


def test_it_takes_one_server() -> None:
    urls = ["http://127.0.0.1:1", "--against", "http://127.0.0.1:2"]
    result = CliRunner().invoke(silkline, ["bench", *urls, "--mlperf", "held-out"])
    assert result.exit_code == 2
    assert "--reference" in result.output
