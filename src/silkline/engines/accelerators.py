"""Which accelerators the kernel of this machine has a driver for, whatever libraries there are."""

from __future__ import annotations

from pathlib import Path

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
AMD_DRIVER = Path("/dev/kfd")


def has_nvidia() -> bool:
    """Whether there is NVIDIA's driver."""
    return NVIDIA_DRIVER.is_file()


def has_gpu() -> bool:
    """Whether there is a driver of a GPU that engines compute on: NVIDIA's or AMD's."""
    return has_nvidia() or AMD_DRIVER.exists()
