"""Engines of tests, installed for the workers of one test."""

from pathlib import Path

import pytest

SPEC = """

from silkline.engines.spec import EngineSpec

SPEC = EngineSpec(name="plug", create=create_engine, needs_model=False)
"""


def plug_in(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Installs an engine `plug` for the workers of this test."""
    metadata = folder / "plug-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[silkline.engines]\nplug = plug:SPEC\n")
    (folder / "plug.py").write_text(source + SPEC)
    monkeypatch.setenv("PYTHONPATH", str(folder))
