"""The naive design's virtual environment: made once, made again when its requirements change.

Where the interpreter that runs the benchmark has just these versions, it is used instead.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
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
    if _has_all():
        return Path(sys.executable)
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
    return ", ".join(f"{name} {pinned}" for name, pinned in _pins().items())


def _pins() -> dict[str, str]:
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def _has_all() -> bool:
    """Whether this interpreter has the pinned versions, and no torchvision."""
    if _version("torchvision"):
        return False
    return all(_version(name) == pinned for name, pinned in _pins().items())


def _version(package: str) -> str:
    """An installed version without its build; empty if there is none."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""
