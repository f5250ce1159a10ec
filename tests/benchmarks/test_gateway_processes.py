"""The benchmark of gateway processes, for a second each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_each_cell_is_measured_and_nothing_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gateway_processes", "--clients", "4"]
    command += ["--seconds", "1", "--cache", str(tmp_path), "--results", str(tmp_path)]
    subprocess.run(command, check=True)
    (report,) = tmp_path.glob("*.md")
    rows = [line for line in report.read_text(encoding="utf-8").splitlines() if "|" in line][2:]
    assert [tuple(row.split("|")[1:3]) for row in rows] == [
        (f" {kind} ", f" {processes} ") for kind in ("cached", "remote") for processes in (1, 2)
    ]
