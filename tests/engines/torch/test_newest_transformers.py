"""The families on the newest transformers 5, which is fetched for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEWEST = ROOT / ".cache" / "transformers-5"


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_families_hold_on_the_newest_transformers() -> None:
    """Laid before what is installed: torch stays the same, transformers does not."""
    install = ["install", "--quiet", "--upgrade", "--target", str(NEWEST), "transformers>=5,<6"]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    path = os.pathsep.join(map(str, (NEWEST, ROOT / "src")))
    tests = [str(Path(__file__).with_name(f"test_{name}.py"))
             for name in ("families", "loading", "prompt")]  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-4000:]
