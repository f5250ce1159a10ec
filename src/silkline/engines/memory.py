"""Measures free memory, and makes the error for a request that runs out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from silkline.engines.control_groups import ROOT, groups, read
from silkline.errors import Overloaded


def free_memory(root: Path = ROOT) -> int:
    """Returns how many bytes this process can still allocate, on the machine or in its container.

    Args:
        root: Root of the file system that holds `/proc` and `/sys`.
    """
    return max(0, min([psutil.virtual_memory().available, *_cgroup_free(root)]))


def too_little_memory() -> Overloaded:
    """Returns the error for a request that ran out of memory; a retry may succeed."""
    return Overloaded(
        "There was not enough memory for the images of this request. Try again, or send "
        "fewer or smaller images."
    )


def _cgroup_free(root: Path) -> Iterator[int]:
    """Yields the free bytes under each limit of the process's control groups, versions 2 and 1."""
    for group in groups("memory", root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                free = int(read(group / limit)) - int(read(group / used))
            except ValueError:  # "max", or the file does not exist
                continue
            # The kernel counts the page cache as used, but drops it before the limit is hit.
            yield free + _stat(read(group / "memory.stat"), cached)


def _stat(text: str, field: str) -> int:
    """Returns a field of memory.stat; 0 if it is missing or not a number."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == field and number.isdecimal():
            return int(number)
    return 0
