"""Finds the process's control groups, which hold the limits of a container or a service.

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
    """Yields the folders of the process's control groups and their parents, versions 2 and 1.

    In a container, `/proc/self/cgroup` may hold the path on the host although only the container's
    own group is mounted. So the mount itself counts as the topmost parent. Folders that do not
    exist may be yielded; they set no limit.

    Args:
        controller: The name of a version 1 controller, such as "cpu" or "memory".
        root: Root of the file system that holds `/proc` and `/sys`.
    """
    for line in read(root / _GROUPS).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = PurePosixPath(path.lstrip("/"))
        if ".." in group.parts:  # outside the process's cgroup namespace
            continue
        mounts: set[str] = set()
        if number == "0" and not controllers:
            mounts = {""}
        elif controller in controllers.split(","):
            mounts = {controller, controllers}
        for mount in mounts:
            for folder in (group, *group.parents):
                yield root / _MOUNT / mount / folder


def read(file: Path) -> str:
    """Returns the text of a file; empty if it does not exist or cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return ""
