"""What a benchmark ran on, for its report."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("silkline", "openvino", "openvino-genai", "uvicorn", "fastapi", "pillow")


def machine() -> dict[str, str]:
    """Processor, memory and system, and how busy it was with other things."""
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 1024**3
    load = os.getloadavg()[0]
    return {
        "processor": f"{processor()}, {cores} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load average before": f"{load:.2f}" + (" (not a quiet machine)" if load > 0.5 else ""),
    }


def processor() -> str:
    """The processor's own name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def hardware_slug() -> str:
    """Processor and cores as a part of a file's name."""
    name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return f"{name}-{len(os.sched_getaffinity(0))}core"


def versions() -> dict[str, str]:
    """Versions of what serves, and the commit of the working tree."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {"versions": ", ".join(found), "commit": _commit()}


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
