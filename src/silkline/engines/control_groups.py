"""What the process's control groups say: the limits of a container or a service.

https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/admin-guide/cgroup-v1/index.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_GROUPS = "proc/self/cgroup"
_MOUNT = "sys/fs/cgroup"


def groups(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders of the process's groups and of those above them, of both versions.

    A container may be told its path on the host, while what is mounted is its own group alone: the
    mount itself counts as the last of those above, and what is not there limits nothing.

    Args:
        controller: In the terms of version 1, such as "cpu" or "memory".
        root: Where the system's files are.
    """
    for line in read(root / _GROUPS).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = PurePosixPath(path.lstrip("/"))
        if ".." in group.parts:  # outside of what this process can see
            continue
        mounts: set[str] = set()
        if number == "0" and not controllers:
            mounts = {""}
        elif controller in controllers.split(","):
            mounts = {controller, controllers}
        for mount in mounts:
            for each in (group, *group.parents):
                yield root / _MOUNT / mount / each


def read(file: Path) -> str:
    """A file of the system; empty where there is none, or it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return ""
