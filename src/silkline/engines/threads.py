"""Chooses the number of threads that a model computes with on the CPU (docs/decisions/0012).

A container that is limited to the time of two cores (`docker run --cpus 2`, a Kubernetes limit)
still sees all of the machine's cores and may run on each. With one thread per core the kernel would
throttle it for most of every period. Its limit is the quota of its control group or of a parent.
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from silkline.engines.control_groups import ROOT, groups, read

_SMALL_MODEL_BYTES = 64 * 1024 * 1024


def choose_threads(configured: int, weights_bytes: int, root: Path = ROOT) -> int:
    """Returns the number of threads for a model; 0 lets the library use all cores.

    A small model (weights under 64 MiB) gets half of the cores: its steps are too short to gain
    much from more threads, and the gateway and the image decoders need the other cores.

    Args:
        configured: The number in the options; 0 lets this function choose.
        weights_bytes: Size of the model's weights.
        root: Root of the file system that holds `/proc` and `/sys`.
    """
    if configured:
        return configured
    cores = usable_cores(root)
    if weights_bytes < _SMALL_MODEL_BYTES:
        return max(1, cores // 2)
    return 0 if cores == _affinity_cores() else cores


def usable_cores(root: Path = ROOT) -> int:
    """The number of cores whose time this process may use, rounded up, at least 1.

    Args:
        root: Root of the file system that holds `/proc` and `/sys`.
    """
    return max(1, min([_affinity_cores(), *_quotas(root)]))


def _affinity_cores() -> int:
    """The number of cores in the process's CPU affinity mask."""
    return len(os.sched_getaffinity(0))


def _quotas(root: Path) -> Iterator[int]:
    """The CPU quotas of the process's control groups and their parents, in cores rounded up."""
    quotas = (_quota(group) for group in groups("cpu", root))
    return (quota for quota in quotas if quota is not None)


def _quota(group: Path) -> int | None:
    """A group's own CPU quota in cores, from cgroup version 2 or 1; None means no limit."""
    fields = read(group / "cpu.max").split()
    if not fields:
        fields = [read(group / "cpu.cfs_quota_us"), read(group / "cpu.cfs_period_us")]
    try:
        quota, period = (int(number) for number in fields)
    except ValueError:  # "max", a missing file, or a format that is not known here
        return None
    return -(-quota // period) if quota > 0 and period > 0 else None
