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
from pathlib import Path

from silkline.engines.control_groups import ROOT, groups, read

_SMALL_MODEL_BYTES = 64 * 1024 * 1024


def choose_threads(asked: int, weights_bytes: int, root: Path = ROOT) -> int:
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


def usable_cores(root: Path = ROOT) -> int:
    """Cores whose time this process may use, at least 1; a part of one counts as one.

    Args:
        root: Where the system's files are.
    """
    return max(1, min([_bound_cores(), *_quotas(root)]))


def _bound_cores() -> int:
    """Those that the process may run on."""
    return len(os.sched_getaffinity(0))


def _quotas(root: Path) -> Iterator[int]:
    """What the process's control groups, and those above them, may use, in cores rounded up."""
    quotas = (_quota(group) for group in groups("cpu", root))
    return (quota for quota in quotas if quota is not None)


def _quota(group: Path) -> int | None:
    """A group's own quota, by version 2 of control groups or by version 1; None for no limit."""
    said = read(group / "cpu.max").split()
    if not said:
        said = [read(group / "cpu.cfs_quota_us"), read(group / "cpu.cfs_period_us")]
    try:
        quota, period = (int(number) for number in said)
    except ValueError:  # "max", or nothing, or nothing that is known here
        return None
    return -(-quota // period) if quota > 0 and period > 0 else None
