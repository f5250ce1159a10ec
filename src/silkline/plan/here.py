"""The processor of this machine as a device: its figures are derived, and measured in a second."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import psutil

from silkline.engines.processor import features
from silkline.engines.threads import usable_cores
from silkline.plan.device import Device

_COPY_BYTES = 1 << 27
_COPIES = 3
_MEGA = 10**6
_USUAL_MEGAHERTZ = 2500.0

_OPERATIONS = (("avx512bw", 64), ("avx2", 32), ("asimd", 16))
"""Operations in FP32 a cycle of a core: two fused multiply-adds on vectors of this width."""

_EIGHT_BIT = {"avx512_vnni": 4, "avx_vnni": 4, "i8mm": 4, "asimddp": 4, "amx_int8": 32}
"""Times as many in INT8."""


@cache
def this_machine() -> Device:
    """Returns the processor of this machine, with the cores and memory that it may use.

    It is measured once, so all parts of a plan have the same figures.
    """
    cores, found = usable_cores(), features()
    cycles = next((count for name, count in _OPERATIONS if name in found), 8)
    megahertz = _megahertz()
    flops = cores * megahertz * _MEGA * cycles
    times = max((factor for name, factor in _EIGHT_BIT.items() if name in found), default=0)
    return Device(
        name="here",
        memory=psutil.virtual_memory().total,
        bandwidth=copied_bytes_per_second(),
        flops=flops,
        ops8=times * flops,
        source=f"{cores} cores x {megahertz:.0f} MHz x {cycles} operations a cycle; "
        "bandwidth measured by copying",
        cores=cores,
    )


def copied_bytes_per_second() -> float:
    """Bytes a second that copying a block reads and writes: the fastest of a few copies."""
    source, copy = bytearray(_COPY_BYTES), bytearray(_COPY_BYTES)
    fastest = float("inf")
    for _ in range(_COPIES):
        began = time.perf_counter()
        copy[:] = source
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * _COPY_BYTES / max(fastest, 1e-9)


def _megahertz() -> float:
    """The highest frequency that the system tells, which on virtual machines may be none."""
    frequency: Any = psutil.cpu_freq()
    return float((frequency and (frequency.max or frequency.current)) or _USUAL_MEGAHERTZ)
