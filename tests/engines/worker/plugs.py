"""Engines of tests, installed for the workers of one test."""

from pathlib import Path

import pytest


def plug_in(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Installs an engine `plug` for the workers of this test."""
    metadata = folder / "plug-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[silkline.engines]\nplug = plug:create_engine\n")
    (folder / "plug.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))
