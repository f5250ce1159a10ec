"""Describes this machine: what may change an engine's answers and its speed."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import psutil

from silkline.engines.accelerators import NVIDIA_DRIVER
from silkline.engines.processor import CPUINFO, instruction_set
from silkline.engines.threads import usable_cores
from silkline.models.gate import Machine

NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")

_PROCESSOR = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_CARD = re.compile(r"^Model:\s*(.+)$", re.MULTILINE)
_DRIVER = re.compile(r"\b(\d+\.\d+(?:\.\d+)?)\b")


def this_machine(
    cpuinfo: Path = CPUINFO, cards: Path = NVIDIA_CARDS, driver: Path = NVIDIA_DRIVER
) -> Machine:
    """Describes this machine.

    Args:
        cpuinfo: The kernel's description of the CPU.
        cards: Folder with a folder for each of NVIDIA's GPUs.
        driver: File with the version of NVIDIA's driver.
    """
    names = (_found(_CARD, path) for path in sorted(cards.glob("*/information")))
    return Machine(
        processor=_found(_PROCESSOR, cpuinfo) or platform.machine(),
        instruction_set=instruction_set(cpuinfo=cpuinfo),
        accelerators=tuple(name for name in names if name),
        driver=_found(_DRIVER, driver),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
    )


def _found(pattern: re.Pattern[str], path: Path) -> str:
    try:
        match = pattern.search(path.read_text("utf-8", "replace"))
    except OSError:
        return ""
    return match[1].strip() if match else ""
