"""Finds out which accelerators this machine's kernel has a driver for.

The libraries that are installed do not matter.
"""

from __future__ import annotations

from pathlib import Path

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
AMD_DRIVER = Path("/dev/kfd")


def has_nvidia() -> bool:
    """Whether NVIDIA's driver is loaded."""
    return NVIDIA_DRIVER.is_file()


def has_gpu() -> bool:
    """Whether a driver is loaded for a GPU that engines can use: NVIDIA's or AMD's."""
    return has_nvidia() or AMD_DRIVER.exists()
