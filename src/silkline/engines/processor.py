"""Finds the vector instructions that engines use on this machine's CPU.

The kernel lists what the processor supports. Both torch and OpenVINO multiply matrices with oneDNN,
which uses the best instruction set that the environment variable ONEDNN_MAX_CPU_ISA allows.
https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CPUINFO = Path("/proc/cpuinfo")

_LIMITS: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""The environment variables that oneDNN reads; the first one that is set applies."""

_INSTRUCTION_SETS: Final = {
    "amx_fp16": "AMX FP16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "avx512_fp16": "AVX-512 FP16",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512bw": "AVX-512",
    "avx_vnni": "AVX2 VNNI",
    "avx2": "AVX2",
    "avx": "AVX",
    "sse4_1": "SSE4.1",
    "i8mm": "NEON I8MM",
    "asimddp": "NEON dot product",
    "asimd": "NEON",
}
"""Instruction sets, best first, by the kernel's name for the CPU flag that each needs."""

_AVX2 = frozenset({"sse4_1", "avx", "avx2"})
_AVX512 = _AVX2 | {"avx512bw"}
_FP16 = _AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"}
_AMX = _FP16 | {"amx_int8", "amx_bf16"}
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "SSE41": frozenset({"sse4_1"}),
    "AVX": frozenset({"sse4_1", "avx"}),
    "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2 | {"avx_vnni"},
    "AVX2_VNNI_2": _AVX2 | {"avx_vnni"},
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512 | {"avx512_vnni"},
    "AVX512_CORE_BF16": _AVX512 | {"avx512_vnni", "avx512_bf16"},
    "AVX512_CORE_FP16": _FP16,
    "AVX10_1_512": _FP16,
    "AVX512_CORE_AMX": _AMX,
    "AVX10_1_512_AMX": _AMX,
}
"""The CPU flags that each limit allows; limits that are not listed allow all."""


def features(
    environment: Mapping[str, str] = os.environ, cpuinfo: Path = CPUINFO
) -> frozenset[str]:
    """Returns the vector instructions that engines may use, by the kernel's names for CPU flags.

    Args:
        environment: The environment, whose variables may limit them.
        cpuinfo: The kernel's list of CPU flags; if it does not exist, the result is empty.
    """
    known = _flags(cpuinfo) & _INSTRUCTION_SETS.keys()
    limit = next((environment[name] for name in _LIMITS if environment.get(name)), "")
    return frozenset(known & _ALLOWED.get(limit.upper(), frozenset(known)))


def instruction_set(environment: Mapping[str, str] = os.environ, cpuinfo: Path = CPUINFO) -> str:
    """Returns the best of `features`, such as "AVX2" or "AVX-512 VNNI"; else the machine type.

    Args:
        environment: The environment, whose variables may limit it.
        cpuinfo: The kernel's list of CPU flags.
    """
    found = features(environment, cpuinfo)
    names = (name for feature, name in _INSTRUCTION_SETS.items() if feature in found)
    return next(names, platform.machine())


def multiplies_int8_exactly(
    environment: Mapping[str, str] = os.environ, cpuinfo: Path = CPUINFO
) -> bool:
    """Whether sums of 8-bit products are accumulated in 32 bits.

    x86 processors without VNNI add two products in 16 bits and saturate the sum, so layers with
    8-bit activations give wrong results there.

    Args:
        environment: The environment, whose variables may limit the instructions.
        cpuinfo: The kernel's list of CPU flags.
    """
    found = features(environment, cpuinfo)
    return "sse4_1" not in found or not found.isdisjoint({"avx_vnni", "avx512_vnni"})


def _flags(cpuinfo: Path) -> set[str]:
    if not cpuinfo.is_file():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:  # x86, arm64
            return set(value.split())
    return set()
