"""Metrics of the machine or the container: cores, memory, throttling, pressure and GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

from silkline.engines.accelerators import has_nvidia
from silkline.engines.control_groups import ROOT, groups, read
from silkline.engines.memory import free_memory
from silkline.engines.threads import usable_cores
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.gpus import gpu_readings

_RESOURCES = ("cpu", "memory", "io")
_MICROSECONDS = 1e6
_NANOSECONDS = 1e9


def machine_readings(root: Path = ROOT) -> Iterator[Reading]:
    """Metrics of what the server may use; what the system does not report is left out.

    Args:
        root: Root of the file system that holds `/proc` and `/sys`.
    """
    yield catalogue.MACHINE_CORES, (), usable_cores(root)
    yield catalogue.MACHINE_MEMORY, (), _memory(root)
    yield catalogue.MACHINE_MEMORY_FREE, (), free_memory(root)
    if (throttled := _throttled(root)) is not None:
        yield catalogue.THROTTLED_SECONDS, (), throttled
    for resource in _RESOURCES:
        for share, seconds in _pressure(root, resource):
            yield catalogue.PRESSURE_SECONDS, (resource, share), seconds
    if has_nvidia():
        yield from gpu_readings()


@cache
def _memory(root: Path) -> int:
    """The memory of the machine, or the lowest limit of the process's control groups."""
    limits = [psutil.virtual_memory().total]
    for group in groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = read(group / name).strip()
            if text.isdecimal():
                limits.append(int(text))
    return min(limits)


def _throttled(root: Path) -> float | None:
    """Seconds for which the innermost control group with a CPU limit was throttled.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files; version 1 counts in
    nanoseconds.
    """
    units = {"throttled_usec": _MICROSECONDS, "throttled_time": _NANOSECONDS}
    for group in groups("cpu", root):
        for line in read(group / "cpu.stat").splitlines():
            name, _, number = line.partition(" ")
            if name in units and number.isdecimal():
                return int(number) / units[name]
    return None


def _pressure(root: Path, resource: str) -> Iterator[tuple[str, float]]:
    """Yields `some` and `full` with their seconds: https://docs.kernel.org/accounting/psi.html."""
    for line in read(root / "proc/pressure" / resource).splitlines():
        share, _, fields = line.partition(" ")
        _, separator, total = fields.partition("total=")
        if separator and total.isdecimal():
            yield share, int(total) / _MICROSECONDS
