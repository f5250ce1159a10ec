"""How many threads a model computes with on the CPU (docs/decisions/0012).

A container that may use the time of two cores (`docker run --cpus 2`, a limit of Kubernetes) still
sees all of the machine's, and may run on each: one thread for each of them would be stopped for
most of every period. Its limit is the quota of its control group, or of one above.
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_SMALL_MODEL_BYTES = 64 * 1024 * 1024

_ROOT = Path("/")
_GROUPS = "proc/self/cgroup"
_MOUNT = "sys/fs/cgroup"


def choose_threads(asked: int, weights_bytes: int, root: Path = _ROOT) -> int:
    """Threads for a model; 0 leaves it to the library that computes, which takes all cores.

    A step of a small model is too short to gain much by sharing it, and the cores that it would
    take are those of the gateway and the decoders: it gets half of them.

    Args:
        asked: What the options say; 0 lets this function choose.
        weights_bytes: Size of the model's weights.
        root: Where the system's files are.
    """
    if asked:
        return asked
    cores = usable_cores(root)
    if weights_bytes < _SMALL_MODEL_BYTES:
        return max(1, cores // 2)
    return 0 if cores == _bound_cores() else cores


def usable_cores(root: Path = _ROOT) -> int:
    """Cores whose time this process may use, at least 1; a part of one counts as one.

    Args:
        root: Where the system's files are.
    """
    return max(1, min([_bound_cores(), *_quotas(root)]))


def _bound_cores() -> int:
    """Those that the process may run on."""
    return len(os.sched_getaffinity(0))


def _quotas(root: Path) -> Iterator[int]:
    """What the process's control groups, and those above them, may use, in cores rounded up.

    A container may be told its path on the host, while what is mounted is its own group alone: the
    mount itself counts as the last of those above, and what is not there limits nothing.
    """
    for line in _read(root / _GROUPS).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = PurePosixPath(path.lstrip("/"))
        if ".." in group.parts:  # outside of what this process can see
            continue
        mounts: set[str] = set()
        if number == "0" and not controllers:
            mounts = {""}
        elif "cpu" in controllers.split(","):
            mounts = {"cpu", controllers}
        for mount in mounts:
            for each in (group, *group.parents):
                if (quota := _quota(root / _MOUNT / mount / each)) is not None:
                    yield quota


def _quota(group: Path) -> int | None:
    """A group's own quota, by version 2 of control groups or by version 1; None for no limit."""
    said = _read(group / "cpu.max").split()
    if not said:
        said = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
    try:
        quota, period = (int(number) for number in said)
    except ValueError:  # "max", or nothing, or nothing that is known here
        return None
    return -(-quota // period) if quota > 0 and period > 0 else None


def _read(file: Path) -> str:
    """A file of the system; empty where there is none, or it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return ""
