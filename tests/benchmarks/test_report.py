"""What every benchmark leaves in a folder: for people, and beside it for programs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.machine import hardware_slug
from benchmarks.report import command_line, write_report


class Found(msgspec.Struct):
    rate: float
    date: str


def test_a_report_is_named_by_model_hardware_date_and_kind(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "results"

    report = Found(1.5, "2026-01-02")
    path = write_report(report, "# Häuser\n", folder, "mini", report.date, "cached")

    assert path == folder / f"mini_{hardware_slug()}_2026-01-02_cached.md"
    assert path.read_text(encoding="utf-8") == "# Häuser\n"
    raw = path.with_suffix(".json").read_bytes()
    assert raw == b'{\n "rate": 1.5,\n "date": "2026-01-02"\n}\n'


def test_the_command_line_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/cached.py", "--gateway-options", "--workers 2"])
    told = command_line("cached")
    assert told == "python -m benchmarks.cached --gateway-options '--workers 2'"
