"""OpenVINO reports to nobody that it is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino_genai")


def test_nothing_is_reported_or_kept_of_the_user(tmp_path: Path) -> None:
    """It would leave an identity in the home directory before it reports, except on CI machines."""
    path = os.environ["PATH"]
    imports = "import silkline.engines.openvino.engine, openvino, sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", imports],
        env={"HOME": str(tmp_path), "PATH": path, "TRANSFORMERS_VERBOSITY": "error"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert "openvino_telemetry.main" not in told.stdout.split()
    assert not (tmp_path / "intel").exists()
