"""The naive design's virtual environment: made once, made again when its requirements change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HOME = Path(__file__).parent / "naive"
_REQUIREMENTS = _HOME / "requirements.txt"

SERVER = _HOME / "server.py"
"""The script that the environment is for."""


def naive_python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, with all that `SERVER` needs installed.

    Raises:
        subprocess.CalledProcessError: The environment could not be made; pip has said why.
    """
    python = folder / "bin" / "python"
    installed = folder / "installed.txt"
    wanted = _REQUIREMENTS.read_text(encoding="utf-8")
    if installed.is_file() and installed.read_text(encoding="utf-8") == wanted:
        return python
    print(f"making the naive design's environment in {folder} (about a minute, once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    quietly = ["--quiet", "--disable-pip-version-check"]
    pip = [str(python), "-m", "pip", "install", *quietly, "--requirement", str(_REQUIREMENTS)]
    subprocess.run(pip, check=True)
    installed.write_text(wanted, encoding="utf-8")
    return python


def naive_versions() -> str:
    """What the environment pins, for the report."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if "==" in line)
