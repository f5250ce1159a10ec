"""The recorded canaries, for some seconds: they start, are killed, go on, and are written down."""

from pathlib import Path

import msgspec
import pytest

from benchmarks import canary
from benchmarks.canary import Report
from benchmarks.processes import BenchmarkError


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_short_run_is_killed_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--run", "worse", "--seconds", "25", "--pictures", "12", "--kill-after", "4"]
    monkeypatch.setattr("sys.argv", ["canary", *options, "--results", str(tmp_path)])
    with pytest.raises(BenchmarkError, match="not as expected: worse"):
        canary.main()  # so few requests decide nothing
    (file,) = tmp_path.glob("*_canary.json")
    (run,) = msgspec.json.decode(file.read_bytes(), type=Report).runs
    told = [moment.what for moment in run.timeline]
    assert told[0] == "split, share 5%, by evidence: The experiment begins."
    assert "the gateway answers again" in told
    assert run.lost == run.failed == 0
    assert sum(run.after.values()) == 20
    assert run.answered > 0
    text = file.with_suffix(".md").read_text("utf-8")
    assert "| candidate |" in text
    assert "Experiment canary" in (tmp_path / "canary-worse.html").read_text("utf-8")
