"""How much memory there is, and what a request is told when there is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from silkline.engines.control_groups import ROOT, groups, read
from silkline.errors import Overloaded


def free_memory(root: Path = ROOT) -> int:
    """Bytes that this process could still take: the machine's, or its container's if fewer.

    Args:
        root: Where the system's files are.
    """
    return max(0, min([psutil.virtual_memory().available, *_left(root)]))


def too_little_memory() -> Overloaded:
    """The error: not the client's fault, and gone when others have left."""
    return Overloaded(
        "There was not enough memory for the pictures of this request. Try again, or send "
        "fewer or smaller ones."
    )


def _left(root: Path) -> Iterator[int]:
    """What the limits of the process's control groups leave, by versions 2 and 1."""
    for group in groups("memory", root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                left = int(read(group / limit)) - int(read(group / used))
            except ValueError:  # "max", or not there
                continue
            yield left + _counted(read(group / "memory.stat"), cached)


def _counted(text: str, wanted: str) -> int:
    """A number of memory.stat; 0 where it is none.

    Files in the page cache count as used, but are dropped before a limit is hit.
    """
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == wanted and number.isdecimal():
            return int(number)
    return 0
