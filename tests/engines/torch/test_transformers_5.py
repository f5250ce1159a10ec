"""The families on transformers 5, which `make` lays over the environment (see the Makefile)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OVERLAY = ROOT / ".cache" / "transformers-5"
QUICK = ("gemma4", "qwen3_5")
"""Families of each kind; all of them, and all tests, are run with the long campaign."""


def run(*chosen: str) -> None:
    """Runs tests of this folder with transformers 5."""
    assert OVERLAY.is_dir(), f"it is not there; run: make {OVERLAY.relative_to(ROOT)}/.ready"
    path = os.pathsep.join(map(str, (OVERLAY, ROOT / "src")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": path}, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_families_that_need_transformers_5() -> None:
    answers = " or ".join(f"(answers_are and [{name}-False])" for name in QUICK)
    rules = " or ".join(f"(rules and [{name}])" for name in QUICK)
    chosen = f"{answers} or {rules} or share"
    run("test_families.py", "test_token_rules.py", "-m", "not full", "-k", chosen)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_all_families() -> None:
    names = ("families", "token_rules", "decode", "loading", "prompt")
    run(*(f"test_{name}.py" for name in names))
